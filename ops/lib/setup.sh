# shellcheck shell=bash
# Sourced by ops/run and ops/test: brings a fresh machine to where Anneal can be built and run.
# Needs bash, a Rust toolchain and a C/C++ compiler; installs PostgreSQL's server programs where it may.

oldest_postgres=14

step() { printf '==> %s\n' "$*"; }

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Prints how to become root without being asked for a password; fails when that is not possible.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then return 0; fi
    if has sudo && sudo -n true 2>/dev/null; then
        printf 'sudo -n'
        return 0
    fi
    return 1
}

# The first package manager of this machine.
package_manager() {
    local name
    for name in apt-get dnf apk pacman zypper brew; do
        if has "$name"; then
            printf '%s' "$name"
            return 0
        fi
    done
    return 1
}

# What to type to install PostgreSQL's server programs with a package manager.
postgres_command() {
    case "$1" in
        apt-get) echo 'apt-get install -y --no-install-recommends postgresql' ;;
        dnf) echo 'dnf install -y postgresql-server' ;;
        apk) echo 'apk add postgresql' ;;
        pacman) echo 'pacman -Sy --noconfirm postgresql' ;;
        zypper) echo 'zypper --non-interactive install postgresql-server' ;;
        brew) echo 'brew install postgresql@17' ;;
    esac
}

compiler_command() {
    case "$1" in
        apt-get) echo 'apt-get install -y --no-install-recommends gcc g++ libc6-dev' ;;
        dnf) echo 'dnf install -y gcc gcc-c++' ;;
        apk) echo 'apk add build-base' ;;
        pacman) echo 'pacman -Sy --noconfirm gcc' ;;
        zypper) echo 'zypper --non-interactive install gcc gcc-c++' ;;
        brew) echo 'xcode-select --install' ;;
    esac
}

# Runs an install command of `package_manager`, as root where that needs it.
install_with() {
    local manager=$1 command=$2 root=
    if [ "$manager" != brew ] && ! root=$(as_root); then
        return 1
    fi
    if [ "$manager" = apt-get ]; then
        step "${root:+$root }apt-get update"
        # shellcheck disable=SC2086  # words on purpose
        $root apt-get update -qq || step 'the package lists could not be refreshed; trying with those at hand'
        command="env DEBIAN_FRONTEND=noninteractive $command"
    fi
    step "${root:+$root }$command"
    # shellcheck disable=SC2086  # words on purpose
    $root $command
}

# Whether a folder holds the server programs in a version that is new enough.
is_postgres_folder() {
    [ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
    local major
    major=$("$1/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p')
    [ -n "$major" ] && [ "$major" -ge "$oldest_postgres" ]
}

# Prints the folder of the server programs. The same places, and order, as ops/src/postgres/programs.rs.
find_postgres() {
    local folder
    if [ -n "${ANNEAL_PG_BIN:-}" ]; then
        is_postgres_folder "$ANNEAL_PG_BIN" && printf '%s' "$ANNEAL_PG_BIN"
        return
    fi
    local -a folders=() packages=()
    IFS=: read -r -a folders <<<"${PATH:-}"
    if has pg_config; then folders+=("$(pg_config --bindir 2>/dev/null)"); fi
    packages=(/usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/lib/postgresql*/bin /usr/libexec/postgresql*
        /usr/lib64/postgresql-*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin
        /Applications/Postgres.app/Contents/Versions/*/bin)
    for folder in "${folders[@]}" "${packages[@]}"; do
        if [ -n "$folder" ] && is_postgres_folder "$folder"; then
            printf '%s' "$folder"
            return 0
        fi
    done
    return 1
}

need_rust() {
    has cargo || fail 'cargo is not in PATH.' 'Install Rust from https://rustup.rs, then open a new shell.'
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)"/\1/p' Cargo.toml)
    found=$(rustc --version | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
    if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -t. -k1,1n -k2,2n | head -n 1)" != "$wanted" ]; then
        fail "Rust $found is too old; Anneal needs $wanted." 'Type: rustup update stable'
    fi
}

need_compiler() {
    if has cc && has c++; then return 0; fi
    local manager command
    manager=$(package_manager) || fail 'A C and C++ compiler (cc, c++) is needed; please install one.'
    command=$(compiler_command "$manager")
    step 'no C and C++ compiler; installing one'
    install_with "$manager" "$command" || fail 'A C and C++ compiler (cc, c++) is needed.' "Type: $command"
}

need_postgres() {
    local folder manager command
    if folder=$(find_postgres); then
        step "PostgreSQL: $folder"
        return 0
    fi
    if [ -n "${ANNEAL_PG_BIN:-}" ]; then
        fail "ANNEAL_PG_BIN names $ANNEAL_PG_BIN, which does not hold initdb and postgres of version" \
            "$oldest_postgres or later. Correct it, or unset it to search the machine."
    fi
    manager=$(package_manager) || fail "PostgreSQL's server programs (initdb, postgres) are needed." \
        'Install them by hand, and name their folder in ANNEAL_PG_BIN.'
    command=$(postgres_command "$manager")
    step "PostgreSQL's server programs are missing; installing them"
    if ! install_with "$manager" "$command"; then
        fail "PostgreSQL's server programs (initdb, postgres; version $oldest_postgres or later) are needed," \
            'and could not be installed from here: no right to (neither root nor sudo without a password),' \
            'or the package manager failed, for example without network.' "Type, as root: $command"
    fi
    folder=$(find_postgres) || fail "What was installed is not PostgreSQL $oldest_postgres or later." \
        'Install a newer version (https://www.postgresql.org/download/), or name its folder in ANNEAL_PG_BIN.'
    step "PostgreSQL: $folder"
}

# Brings the crates here first, so that a missing network is told as such.
need_crates() {
    step 'crates'
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    if cargo fetch --locked --quiet --target "$host"; then return 0; fi
    fail 'The crates could not be downloaded (see above).' \
        'The first build needs the network; behind a proxy, set HTTPS_PROXY and try again.'
}

set_up() {
    need_rust
    need_compiler
    need_postgres
    need_crates
}

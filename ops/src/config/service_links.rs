//! Variables that Kubernetes and Docker put into the environment of every container beside a service or linked
//! container: for one named `anneal` (or `anneal-…`) they begin as ours do.
//!
//! The rule: name and value have the exact form that those systems write; anything else stays a mistake, so that a
//! key that was typed wrongly is not passed over.

use std::net::IpAddr;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether the variable is one of a service link. `others`: all our variables, to tell Docker's `…_ENV_…`, which may
/// hold anything, by the link that it belongs to.
pub(super) fn is_service_link(name: &str, text: &str, others: &[(String, String)]) -> bool {
    of_service(name, text) || of_port(name, text) || of_container(name, text, others)
}

/// Kubernetes: `ANNEAL_SERVICE_HOST=10.0.0.1`, `ANNEAL_SERVICE_PORT=8080`, `ANNEAL_SERVICE_PORT_HTTP=8080`.
fn of_service(name: &str, text: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") {
        return is_address(text);
    }
    name.ends_with("_SERVICE_PORT") && is_port(text)
        || name
            .split_once("_SERVICE_PORT_")
            .is_some_and(|(_, port)| !port.is_empty() && is_port(text))
}

/// Both: `ANNEAL_PORT=tcp://10.0.0.1:8080`, `ANNEAL_PORT_8080_TCP=tcp://…`, and of the latter `_PROTO`, `_PORT`,
/// `_ADDR`.
fn of_port(name: &str, text: &str) -> bool {
    if name.ends_with("_PORT") && is_endpoint(text) {
        return true;
    }
    // From the right, since the service's own name may end so.
    let mut ports = name.rmatch_indices("_PORT_");
    ports.any(|(at, mark)| {
        let parts: Vec<&str> = name[at + mark.len()..].split('_').collect();
        let named = |port: &str, protocol: &str| {
            is_port(port) && PROTOCOLS.contains(&protocol.to_ascii_lowercase().as_str())
        };
        match parts[..] {
            [port, protocol] => named(port, protocol) && is_endpoint(text),
            [port, protocol, "PROTO"] => named(port, protocol) && PROTOCOLS.contains(&text),
            [port, protocol, "PORT"] => named(port, protocol) && is_port(text),
            [port, protocol, "ADDR"] => named(port, protocol) && is_address(text),
            _ => false,
        }
    })
}

/// Docker: `ANNEAL_NAME=/web/anneal`, and the linked container's own environment, `ANNEAL_ENV_PATH=…`.
fn of_container(name: &str, text: &str, others: &[(String, String)]) -> bool {
    if name.ends_with("_NAME") {
        let mut parts = text.split('/');
        return parts.next() == Some("") && parts.clone().count() == 2 && parts.all(|part| !part.is_empty());
    }
    name.match_indices("_ENV_").any(|(at, _)| {
        let link = format!("{}_NAME", &name[..at]);
        let named = others.iter().find(|(other, _)| *other == link);
        named.is_some_and(|(link, text)| of_container(link, text, &[]))
    })
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// `tcp://10.0.0.1:8080`
fn is_endpoint(text: &str) -> bool {
    let Some((protocol, rest)) = text.split_once("://") else {
        return false;
    };
    let parts = rest.rsplit_once(':');
    PROTOCOLS.contains(&protocol)
        && parts.is_some_and(|(host, port)| {
            is_port(port) && is_address(host.trim_start_matches('[').trim_end_matches(']'))
        })
}

#[cfg(test)]
mod tests {
    use super::is_service_link;

    fn linked(name: &str, text: &str) -> bool {
        is_service_link(name, text, &[])
    }

    /// FR8: all that Kubernetes writes for a service of two ports, and for one with IPv6.
    #[test]
    fn what_kubernetes_writes_is_known() {
        for service in ["ANNEAL", "ANNEAL_API", "ANNEAL_WORKER_PORT"] {
            for (name, text) in [
                ("SERVICE_HOST", "10.96.12.7"),
                ("SERVICE_HOST", "fd00::12"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_HTTP", "8080"),
                ("SERVICE_PORT_METRICS_2", "9090"),
                ("PORT", "tcp://10.96.12.7:8080"),
                ("PORT", "tcp://[fd00::12]:8080"),
                ("PORT_8080_TCP", "tcp://10.96.12.7:8080"),
                ("PORT_8080_TCP_PROTO", "tcp"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_8080_TCP_ADDR", "10.96.12.7"),
                ("PORT_53_UDP", "udp://10.96.12.7:53"),
                ("PORT_53_UDP_PROTO", "udp"),
                ("PORT_132_SCTP_ADDR", "10.96.12.7"),
            ] {
                let name = format!("{service}_{name}");
                assert!(linked(&name, text), "{name}={text}");
            }
        }
    }

    #[test]
    fn what_docker_writes_for_a_link_is_known() {
        let all = [
            ("ANNEAL_NAME".to_owned(), "/web/anneal".to_owned()),
            ("ANNEAL_PORT".to_owned(), "tcp://172.17.0.5:8080".to_owned()),
            ("ANNEAL_ENV_RUST_LOG".to_owned(), "info".to_owned()),
        ];
        for (name, text) in &all {
            assert!(is_service_link(name, text, &all), "{name}={text}");
        }
        assert!(!linked("ANNEAL_ENV_RUST_LOG", "info"), "without the link");
    }

    #[test]
    fn a_key_that_was_typed_wrongly_is_still_a_mistake() {
        for (name, text) in [
            ("ANNEAL_PORT", "8080"),
            ("ANNEAL_HTTP_PORT", "8080"),
            ("ANNEAL_PORT", "http://10.0.0.1:8080"),
            ("ANNEAL_PORT", "tcp://nowhere"),
            ("ANNEAL_SERVICE_HOST", "anneal.example"),
            ("ANNEAL_SERVICE_PORT", "http"),
            ("ANNEAL_SERVICE_PORT_", "80"),
            ("ANNEAL_PORT_8080_TCP", "8080"),
            ("ANNEAL_PORT_8080_HTTP", "tcp://10.0.0.1:8080"),
            ("ANNEAL_PORT_8080_TCP_HOST", "10.0.0.1"),
            ("ANNEAL_PORT_HTTP_TCP", "tcp://10.0.0.1:8080"),
            ("ANNEAL_WORKER_NAME", "gpu-1"),
            ("ANNEAL_NAME", "/"),
            ("ANNEAL_HTTP_ADRESS", "10.0.0.1"),
        ] {
            assert!(!linked(name, text), "{name}={text}");
        }
    }
}

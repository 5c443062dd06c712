-- Owned by workers::reactors: how far each has read the log, and which of its effects are to be tried again. Neither is
-- derived from the log: a lost checkpoint would begin at the head of the log, a lost delivery would not be made.
create table reactor_checkpoint (
    reactor  text collate "C" not null primary key,
    position bigint not null check (position >= 0),
    -- When its owner was there last.
    seen_at  timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

create table reactor_delivery (
    -- The order in which they came, for lists.
    number    bigint generated always as identity unique,
    reactor   text collate "C" not null,
    -- Made of the event's id: what makes a repeat of the effect the same effect.
    effect    uuid not null,
    -- The event that it answers, which is read again for each try: what is sent stands nowhere here.
    position  bigint not null,
    stream    text collate "C" not null,
    revision  bigint not null,
    kind      text collate "C" not null,
    -- Whom it is for, by id.
    recipient text collate "C",
    attempts  integer not null check (attempts >= 0),
    -- One of the program's own sentences: neither secrets nor addresses.
    failure   text not null,
    failed_at timestamptz not null default clock_timestamp(),
    next_at   timestamptz not null,
    -- Since when it is given up; it is tried again when somebody says so.
    dead_at   timestamptz,
    primary key (reactor, effect)
);

create index reactor_delivery_due on reactor_delivery (reactor, next_at) where dead_at is null;
create index reactor_delivery_dead on reactor_delivery (reactor, number) where dead_at is not null;

comment on table reactor_delivery is 'Effects of events that failed: to be tried again at next_at, or given up. Ids and reasons only.';

insert into projection_lease (name, holder, epoch, expires_at) values ('reactors', 'nobody', 0, '-infinity');

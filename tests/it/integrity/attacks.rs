//! Changes of the log by somebody who may do everything in its database: each is found, with the position.
//!
//! Triggers are switched off as a superuser would. Where the attacker computes chain and tree anew, a function
//! in the database does it, so that nothing of ours helps.

use event_store::{
    integrity::{Fault, Verifier},
    postgres::VerifyError,
};

use super::{Attacker, Fixture};

/// Computes `data_hash` and `hash` of all events from `first` on as an attacker would, and the head with them.
const RECHAIN: &str = r"
create or replace function pg_temp.len(t text) returns bytea language sql as
    $$ select int4send(octet_length(t)) || convert_to(t, 'UTF8') $$;
create or replace function pg_temp.fields(e event) returns bytea language sql as $$
    select int8send(e.pos) || uuid_send(e.id) || pg_temp.len(e.stream) || int8send(e.revision)
        || pg_temp.len(e.kind) || int2send(e.schema_version)
        || int8send((extract(epoch from e.at) * 1000000)::bigint)
        || sha256(convert_to(e.data::text, 'UTF8')) || sha256(convert_to(e.meta::text, 'UTF8')) $$;
do $$
declare
    link bytea; e event;
begin
    select coalesce((select hash from event where pos = FIRST - 1),
        sha256(convert_to('anneal event log 1', 'UTF8') || (select uuid_send(store_id) from event_head)))
        into link;
    for e in select * from event where pos >= FIRST order by pos loop
        link := sha256('\x01'::bytea || link || pg_temp.fields(e));
        update event set hash = link, data_hash = sha256(convert_to(e.data::text, 'UTF8')) where pos = e.pos;
    end loop;
    update event_head set pos = (select max(pos) from event), hash = link;
end
$$;";

/// Computes all level 0 tiles anew from the events.
const RETREE: &str = r"
do $$
declare
    tile bigint; nodes bytea[]; parents bytea[]; joined bytea;
begin
    for tile in select idx from event_tree_tile where level = 0 loop
        select array_agg(sha256('\x00'::bytea || '\x01'::bytea || pg_temp.fields(e)) order by e.pos) into nodes
            from event e where e.pos > tile * 256 and e.pos <= tile * 256 + 256;
        select string_agg(n, ''::bytea order by o) into joined from unnest(nodes) with ordinality as u(n, o);
        while array_length(nodes, 1) > 1 loop
            select array_agg(sha256('\x01'::bytea || nodes[i * 2 - 1] || nodes[i * 2]) order by i) into parents
                from generate_series(1, array_length(nodes, 1) / 2) as i;
            nodes := parents;
        end loop;
        update event_tree_tile set hashes = joined, root = nodes[1]
            where event_tree_tile.level = 0 and idx = tile;
    end loop;
end
$$;";

async fn rechain(attacker: &Attacker, first: u64) {
    attacker.run(&RECHAIN.replace("FIRST", &first.to_string())).await;
}

async fn fault(fixture: &Fixture, verifier: &Verifier) -> Fault {
    match fixture.store.audit(&fixture.evidence(verifier)).await {
        Err(VerifyError::Fault(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

/// A log of 700 events, signed at several sizes.
async fn fixture() -> (Fixture, Verifier) {
    let fixture = Fixture::new().await;
    let verifier = fixture.signed_in_steps(&[100, 200, 300, 100]).await;
    fixture
        .store
        .audit(&fixture.evidence(&verifier))
        .await
        .expect("whole");
    (fixture, verifier)
}

/// What only the chain is needed for.
#[tokio::test]
async fn a_clumsy_change_is_found_by_the_chain() {
    for (statement, expected) in [
        (
            "update event set data = '[]' where pos = 400",
            Fault::Payload { position: 400 },
        ),
        (
            "update event set kind = 'x.Y' where pos = 1",
            Fault::Link { position: 1 },
        ),
        (
            "update event set revision = 99 where pos = 700",
            Fault::Link { position: 700 },
        ),
        (
            "delete from event where pos = 300",
            Fault::Gap {
                expected: 300,
                found: 301,
            },
        ),
        (
            "update event_head set hash = sha256('x')",
            Fault::Head {
                expected: 700,
                found: 700,
            },
        ),
    ] {
        let (fixture, verifier) = fixture().await;
        fixture.attacker().await.run(statement).await;
        assert_eq!(fault(&fixture, &verifier).await, expected, "{statement}");
    }
}

/// AU-6: the chain was computed anew from the change on; the tree names the event.
#[tokio::test]
async fn a_change_with_a_new_chain_is_found_by_the_tree() {
    // Every later event moves by one place; negative positions on the way, since they are unique.
    let close_gap = "update event set pos = -pos where pos > 200;
        update event set pos = -pos - 1 where pos < 0";
    let open_gap = "update event set pos = -pos where pos >= 200;
        update event set pos = -pos + 1 where pos < 0";
    let insert =
        "insert into event select 200, gen_random_uuid(), 'test.forged-1', 0, kind, schema_version, at, data,
        meta, data_hash, hash from event where pos = 199";
    let cases: [(&[&str], u64); 4] = [
        (&["update event set data = '{\"n\":-1}' where pos = 200"], 200),
        (
            &["update event set stream = 'test.other-1', revision = 0 where pos = 1"],
            1,
        ),
        (&["delete from event where pos = 200", close_gap], 200),
        (&[open_gap, insert], 200),
    ];
    for (statements, first) in cases {
        let (fixture, verifier) = fixture().await;
        let attacker = fixture.attacker().await;
        attacker
            .run("alter table event drop constraint event_pos_check")
            .await;
        for statement in statements {
            attacker.run(statement).await;
        }
        rechain(&attacker, first).await;
        let found = fault(&fixture, &verifier).await;
        assert_eq!(found, Fault::Committed { position: first }, "{statements:?}");
    }
}

/// Chain and tiles were computed anew: the signed roots give the stretch.
#[tokio::test]
async fn a_change_with_a_new_chain_and_a_new_tree_lies_between_two_checkpoints() {
    for (position, expected) in [(50, (0, 100)), (200, (100, 300)), (650, (600, 700))] {
        let (fixture, verifier) = fixture().await;
        let attacker = fixture.attacker().await;
        attacker
            .run(&format!(
                "update event set data = '{{\"n\":-1}}' where pos = {position}"
            ))
            .await;
        rechain(&attacker, position).await;
        attacker.run(RETREE).await;
        let (after, until) = expected;
        assert_eq!(
            fault(&fixture, &verifier).await,
            Fault::Between { after, until },
            "{position}"
        );
        // Whoever has no key and changes the recorded roots too leaves only the exported notes.
        let heads = "update event_tree_head set root = sha256('x')";
        attacker.run(heads).await;
        assert_eq!(
            fault(&fixture, &verifier).await,
            Fault::Between { after, until },
            "{position}"
        );
    }
}

/// A cut tail breaks nothing in the database. Only a checkpoint from outside tells.
#[tokio::test]
async fn a_cut_tail_is_found_by_the_exported_checkpoint() {
    let (fixture, verifier) = fixture().await;
    let attacker = fixture.attacker().await;
    attacker.run("delete from event where pos > 600").await;
    attacker
        .run("update event_head set pos = 600, hash = (select hash from event where pos = 600)")
        .await;
    let expected = Fault::Truncated {
        signed: 700,
        found: 600,
        proved: 600,
    };
    assert_eq!(fault(&fixture, &verifier).await, expected);
    attacker.run("delete from event_tree_head where size > 600").await;
    fixture
        .store
        .verify()
        .await
        .expect("nothing in the database tells");
    assert_eq!(fault(&fixture, &verifier).await, expected);
}

/// What is wrong with tree and checkpoints alone accuses no event.
#[tokio::test]
async fn a_changed_tree_or_checkpoint_is_told_from_a_changed_event() {
    for (statement, expected) in [
        (
            "update event_tree_tile set hashes = hashes || '' , root = sha256('x') where level = 0 and idx = 1",
            "level 0, tile 1",
        ),
        ("delete from event_tree_tile where idx = 0", "level 0, tile 0"),
        (
            "update event_tree_tile set hashes = overlay(hashes placing '\\x00000000'::bytea from 33) where idx = 1",
            "level 0, tile 1",
        ),
        (
            "update event_tree_head set note = replace(note, '300', '301') where size = 300",
            "checkpoint of 300 events in the database does not count",
        ),
        (
            "update event_tree_head set note = (select note from event_tree_head where size = 100) where size = 300",
            "of another size",
        ),
        (
            "delete from event_tree_head where size = 300",
            "is not recorded in the database",
        ),
    ] {
        let (fixture, verifier) = fixture().await;
        fixture.attacker().await.run(statement).await;
        let found = fault(&fixture, &verifier).await.to_string();
        assert!(found.contains(expected), "{statement}: {found}");
    }
}

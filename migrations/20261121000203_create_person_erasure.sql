-- Owned by the eraser (ops/src/system/eraser.rs): for whom the rebuild of personal read models was asked for,
-- after the key was destroyed. A lost row costs one more rebuild.
create table person_erasure (
    person   text collate "C" not null primary key,
    asked_at timestamptz not null
);

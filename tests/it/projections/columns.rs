//! ES-4: rows are written in binary form, which converts nothing: the columns that a row declares are those of its table.

use std::collections::BTreeMap;

use projections::{
    Visitor,
    read_model::{ReadModel, Row},
};

use super::fixture::Fixture;

type Columns = BTreeMap<String, String>;

/// Tables, and the columns that they must have.
#[derive(Default)]
struct Declared(Vec<(String, Columns)>);

impl Visitor for Declared {
    fn visit<M: ReadModel>(&mut self) {
        let row = M::Row::COLUMNS.iter();
        let row: Columns = row
            .map(|column| (column.name.to_owned(), column.kind.name().to_owned()))
            .collect();
        assert_eq!(
            row.get(M::KEY).map(String::as_str),
            Some(M::KEY_TYPE),
            "{}",
            M::NAME
        );
        if let Some(history) = M::HISTORY {
            let hot = history.hot.map_or(&[][..], |hot| hot.columns);
            let bigint = |name: &str| (name.to_owned(), "bigint".to_owned());
            let at = ("valid_from_at".to_owned(), "timestamp with time zone".to_owned());
            let mut versions = row.clone();
            versions.retain(|name, _| !hot.contains(&name.as_str()));
            versions.extend([bigint("valid_from"), bigint("valid_to"), at.clone()]);
            self.0.push((history.table.to_owned(), versions));
            if let Some(hot) = history.hot {
                let mut often = row.clone();
                often.retain(|name, _| name == M::KEY || hot.columns.contains(&name.as_str()));
                assert_eq!(
                    often.len(),
                    hot.columns.len() + 1,
                    "{}: hot columns are columns",
                    M::NAME
                );
                often.extend([bigint("valid_from"), at]);
                self.0.push((hot.table.to_owned(), often));
            }
        }
        self.0.push((M::TABLE.to_owned(), row));
    }
}

#[tokio::test]
async fn the_columns_of_every_row_are_those_of_its_tables() {
    let fixture = Fixture::new().await;
    let mut declared = Declared::default();
    projections::visit(&mut declared);
    assert!(declared.0.len() > 17, "tables of the past are among them");
    for (table, columns) in declared.0 {
        let found: Vec<(String, String)> = sqlx::query_as(
            "select attname::text, format_type(atttypid, null) from pg_attribute
             where attrelid = $1::regclass and attnum > 0 and not attisdropped",
        )
        .bind(&table)
        .fetch_all(&fixture.pool)
        .await
        .expect("the table is there");
        assert_eq!(found.into_iter().collect::<Columns>(), columns, "{table}");
    }
}

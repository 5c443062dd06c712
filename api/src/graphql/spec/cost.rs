//! What an operation costs, before anything of it runs.
//!
//! One rule: the cost follows from the types alone, so a new list or a new object is counted without anybody
//! thinking of it; and each fragment is measured once, so the walk is linear in the text.

use std::collections::HashMap;

use async_graphql::parser::types::{
    BaseType, ExecutableDocument, Field as AstField, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Response, ServerError, Value as ConstValue, Variables, value};
use async_graphql_value::Value;

use super::types::{Field, TypeSystem, named};

/// How operations are priced, in points.
///
/// A field costs 1 point; its objects cost what is selected of them. A row, which is an object of a connection or one
/// with a global id, costs `row` points besides, because it has to be found. A connection counts the rows that its
/// `first` asks for; any other list of objects counts `unpaged` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostModel {
    /// What an operation may cost.
    pub limit: u64,
    /// What a row costs besides its fields.
    pub row: u64,
    /// How many objects a list counts that is not paged.
    pub unpaged: u64,
    /// How many rows a connection counts that does not say `first`, and at most.
    pub page: (u64, u64),
}

/// What an operation costs and may cost; clients read it in `extensions.cost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Price {
    pub(super) requested: u64,
    pub(super) limit: u64,
}

impl Price {
    /// The price of `operation` with its coerced variables.
    pub(super) fn of(
        model: CostModel,
        types: &TypeSystem,
        document: &ExecutableDocument,
        operation: &OperationDefinition,
        variables: &Variables,
    ) -> Self {
        let mut walk = Walk {
            model,
            types,
            document,
            variables,
            known: HashMap::new(),
        };
        let root = types.root(operation.ty).unwrap_or_default();
        Self {
            requested: walk.set(root, &operation.selection_set.node, None),
            limit: model.limit,
        }
    }

    /// The answer to an operation that costs too much; none when it does not.
    pub(super) fn refusal(self) -> Option<Response> {
        let Self { requested, limit } = self;
        if requested <= limit {
            return None;
        }
        let message = format!(
            "the query costs {requested} points; at most {limit} are allowed, so ask for smaller pages"
        );
        let mut error = ServerError::new(message, None);
        let extensions = error.extensions.get_or_insert_default();
        extensions.set("code", "QUERY_TOO_LARGE");
        extensions.set("cost", requested);
        extensions.set("limit", limit);
        Some(self.shown(Response::from_errors(vec![error])))
    }

    /// The response with its price.
    pub(super) fn shown(self, mut response: Response) -> Response {
        let cost = value!({ "requested": (self.requested), "limit": (self.limit) });
        response.extensions.insert("cost".to_owned(), cost);
        response
    }
}

/// What is known of a fragment, within a page of so many rows.
type Known<'a> = HashMap<(&'a str, Option<u64>), u64>;

struct Walk<'a> {
    model: CostModel,
    types: &'a TypeSystem,
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    known: Known<'a>,
}

impl<'a> Walk<'a> {
    /// What a selection of `parent` costs; `page` is how many rows that has, when it is a connection.
    fn set(&mut self, parent: &str, set: &'a SelectionSet, page: Option<u64>) -> u64 {
        let mut sum = 0_u64;
        for selection in &set.items {
            let cost = match &selection.node {
                Selection::Field(field) => self.field(parent, &field.node, page),
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    let on = condition.map_or(parent, |on| on.node.on.node.as_str());
                    self.set(on, &fragment.node.selection_set.node, page)
                }
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, page),
            };
            sum = sum.saturating_add(cost);
        }
        sum
    }

    /// Cycles and unknown fragments cost nothing; they are refused as what they are.
    fn fragment(&mut self, name: &str, page: Option<u64>) -> u64 {
        let document = self.document;
        let Some((name, fragment)) = document.fragments.get_key_value(name) else {
            return 0;
        };
        let key = (name.as_str(), page);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        self.known.insert(key, 0);
        let on = fragment.node.type_condition.node.on.node.as_str();
        let cost = self.set(on, &fragment.node.selection_set.node, page);
        self.known.insert(key, cost);
        cost
    }

    fn field(&mut self, parent: &str, field: &'a AstField, page: Option<u64>) -> u64 {
        let selected = &field.selection_set.node;
        let Some(definition) = self.types.field(parent, field.name.node.as_str()) else {
            // About the schema, or unknown.
            return self.set("", selected, None).saturating_add(1);
        };
        let of = named(&definition.ty);
        if self.types.is_leaf(of) {
            return 1;
        }
        if of.ends_with("Connection") {
            let rows = self.page(field);
            return self.set(of, selected, Some(rows)).saturating_add(1);
        }
        let objects = self.objects(parent, definition, page);
        let each = self
            .set(of, selected, None)
            .saturating_add(self.row(parent, field, of, page));
        objects.saturating_mul(each).saturating_add(1)
    }

    /// How many objects a field counts.
    fn objects(&self, parent: &str, definition: &Field, page: Option<u64>) -> u64 {
        match (&definition.ty.base, page) {
            (BaseType::Named(_), _) => 1,
            (BaseType::List(_), Some(rows)) if parent.ends_with("Connection") => rows,
            (BaseType::List(_), _) => self.model.unpaged,
        }
    }

    /// What the objects of a field cost besides their fields. The node of an edge is counted with its edge.
    fn row(&self, parent: &str, field: &AstField, of: &str, page: Option<u64>) -> u64 {
        let name = field.name.node.as_str();
        let of_connection = page.is_some() && matches!(name, "nodes" | "edges");
        let of_edge = parent.ends_with("Edge") && name == "node";
        let found = of == "Node" || self.types.possible("Node").contains(&of);
        match of_connection || (found && !of_edge) {
            true => self.model.row,
            false => 0,
        }
    }

    /// The rows that a connection is asked for. Variables are coerced: what they lack was omitted.
    fn page(&self, field: &AstField) -> u64 {
        let (default, most) = self.model.page;
        let given = field.get_argument("first").map(|value| &value.node);
        let given = match given {
            Some(Value::Number(number)) => Some(number),
            Some(Value::Variable(name)) => match self.variables.get(name) {
                Some(ConstValue::Number(number)) => Some(number),
                _ => None,
            },
            _ => None,
        };
        given.map_or(default, |number| number.as_u64().unwrap_or(most).min(most))
    }
}

//! Arguments as they are written: literals of the right type (5.6.1 to 5.6.4), variables where they may stand
//! (5.8.5).
//!
//! One rule: each operation is walked with each of its fragments once. What the schema does not know
//! is left to the library's validation, which names it.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    BaseType, Directive, ExecutableDocument, FragmentDefinition, OperationDefinition, Selection,
    SelectionSet, Type, VariableDefinition,
};
use async_graphql::{Name, Pos, Positioned, ServerError, Value as ConstValue, Variables};
use async_graphql_value::Value;

use super::literals::{compatible, constant, has_variable, is_written, no_nul, same_base};
use super::types::{Input, Kind, TypeSystem, named};
use super::verify::verify;
use super::wording::{self, Place, Wrong, within, wrong};
use super::{refusal, root_of};

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// Checks all arguments of a document, and says whether a field of the operation that runs has to say what is wrong
/// with one: a null was given for a variable that may be null, where null may not stand (5.8.5, "Allowing optional
/// variables when default values exist"). The library refuses the whole request for it.
///
/// # Errors
/// One for each argument that is wrong.
pub(super) fn check(
    types: &TypeSystem,
    document: &ExecutableDocument,
    runs: &OperationDefinition,
    values: &Variables,
) -> Result<bool, Vec<ServerError>> {
    let mut null_where_it_may_not_stand = false;
    let mut errors = Vec::new();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let mut walk = Walk::of(types, &document.fragments, operation);
        if std::ptr::eq(operation, runs) {
            walk.values = Some(values);
        }
        walk.defaults(operation);
        walk.directives(&operation.directives);
        walk.set(&operation.selection_set.node, root_of(types, operation.ty));
        null_where_it_may_not_stand |= walk.null_where_it_may_not_stand;
        errors.append(&mut walk.errors);
    }
    // A fragment may be spread in several operations.
    let mut known = HashSet::new();
    errors.retain(|error| {
        let at = error.locations.first().map(|at| (at.line, at.column));
        known.insert((error.message.clone(), at))
    });
    match errors.is_empty() {
        true => Ok(null_where_it_may_not_stand),
        false => Err(errors),
    }
}

/// Why an argument is refused.
enum Invalid {
    /// Its value is not of its type.
    Value(Wrong),
    /// A variable stands in it that may not; the whole message.
    Usage(String),
}

impl From<Wrong> for Invalid {
    fn from(wrong: Wrong) -> Self {
        Self::Value(wrong)
    }
}

struct Walk<'a> {
    types: &'a TypeSystem,
    fragments: &'a Fragments,
    variables: HashMap<&'a str, &'a VariableDefinition>,
    /// The values of the variables, for the operation that runs.
    values: Option<&'a Variables>,
    null_where_it_may_not_stand: bool,
    visited: HashSet<&'a str>,
    errors: Vec<ServerError>,
}

impl<'a> Walk<'a> {
    fn of(types: &'a TypeSystem, fragments: &'a Fragments, operation: &'a OperationDefinition) -> Self {
        let definitions = operation
            .variable_definitions
            .iter()
            .map(|definition| &definition.node);
        Self {
            types,
            fragments,
            variables: definitions.map(|d| (d.name.node.as_str(), d)).collect(),
            values: None,
            null_where_it_may_not_stand: false,
            visited: HashSet::new(),
            errors: Vec::new(),
        }
    }

    fn is_null(&self, variable: &Name) -> bool {
        self.values.and_then(|values| values.get(variable)) == Some(&ConstValue::Null)
    }

    /// The defaults of variables are literals without variables (5.6.1).
    fn defaults(&mut self, operation: &OperationDefinition) {
        for Positioned { node: definition, .. } in &operation.variable_definitions {
            let Some(default) = &definition.default_value else {
                continue;
            };
            let input = Input {
                name: definition.name.node.to_string(),
                ty: definition.var_type.node.clone(),
                has_default: false,
            };
            if let Err(Invalid::Value(Wrong { at, what })) =
                self.argument(&default.node.clone().into_value(), &input)
            {
                let name = &definition.name.node;
                let message = format!("Variable \"${name}\" got invalid default value at \"{at}\"; {what}");
                self.errors.push(refusal(message, default.pos));
            }
        }
    }

    fn set(&mut self, set: &'a SelectionSet, parent: Option<&'a str>) {
        for selection in &set.items {
            self.directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => {
                    let name = field.node.name.node.as_str();
                    let known = parent.and_then(|parent| self.types.field(parent, name));
                    let inputs = known.map_or(&[][..], |field| &field.arguments);
                    let of = format!("field \"{}.{name}\"", parent.unwrap_or_default());
                    self.arguments(&field.node.arguments, inputs, &of, field.pos);
                    self.set(
                        &field.node.selection_set.node,
                        known.map(|field| named(&field.ty)),
                    );
                }
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref();
                    let on = on.map(|condition| condition.node.on.node.as_str());
                    self.set(&fragment.node.selection_set.node, on.or(parent));
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    if let Some(fragment) = self.fragments.get(name)
                        && self.visited.insert(name)
                    {
                        let on = fragment.node.type_condition.node.on.node.as_str();
                        self.set(&fragment.node.selection_set.node, Some(on));
                    }
                }
            }
        }
    }

    fn directives(&mut self, directives: &'a [Positioned<Directive>]) {
        let condition = [Input {
            name: "if".to_owned(),
            ty: Type {
                base: BaseType::Named(Name::new("Boolean")),
                nullable: false,
            },
            has_default: false,
        }];
        for Positioned { node: directive, pos } in directives {
            let name = directive.name.node.as_str();
            let inputs = match name {
                "skip" | "include" => &condition[..],
                _ => &[],
            };
            let of = format!("directive \"@{name}\"");
            self.arguments(&directive.arguments, inputs, &of, *pos);
            self.no_null_condition(directive, inputs);
        }
    }

    /// A condition that is null leaves open what to run, so nothing is run.
    fn no_null_condition(&mut self, directive: &Directive, inputs: &[Input]) {
        let given = inputs
            .iter()
            .filter_map(|input| directive.get_argument(&input.name));
        for value in given {
            if let Value::Variable(name) = &value.node
                && self.is_null(name)
            {
                let message = format!("Variable \"${name}\" decides what is run and must not be null.");
                self.errors.push(refusal(message, value.pos));
            }
        }
    }

    /// Checks what is given to `of`, a field or a directive at `at`, against what it takes.
    fn arguments(
        &mut self,
        given: &'a [(Positioned<Name>, Positioned<Value>)],
        inputs: &[Input],
        of: &str,
        at: Pos,
    ) {
        for (name, value) in given {
            let input = inputs.iter().find(|input| input.name == name.node.as_str());
            let checked = match input {
                Some(input) => self.argument(&value.node, input),
                None => no_nul(&value.node, &name.node).map_err(Invalid::Value),
            };
            let message = match checked {
                Ok(()) => continue,
                Err(Invalid::Usage(message)) => message,
                Err(Invalid::Value(Wrong { at, what })) => {
                    format!(
                        "Argument \"{}\" of {of} got invalid value at \"{at}\"; {what}",
                        name.node
                    )
                }
            };
            self.errors.push(refusal(message, value.pos));
        }
        let required = inputs
            .iter()
            .filter(|input| !input.ty.nullable && !input.has_default);
        for Input { name, ty, .. } in required {
            if given.iter().all(|(given, _)| given.node != name.as_str()) {
                let message = format!(
                    "Argument \"{name}\" of type \"{ty}\" is required on {of}, but it was not provided."
                );
                self.errors.push(refusal(message, at));
            }
        }
    }

    /// Checks one argument as it is written, and then with the values of its variables.
    fn argument(&mut self, value: &Value, input: &Input) -> Result<(), Invalid> {
        let before = std::mem::take(&mut self.null_where_it_may_not_stand);
        let mut place = vec![input.name.clone()];
        let mut checked = self.literal(value, &input.ty, input.has_default, &mut place);
        checked = checked.and_then(|()| no_nul(value, &input.name).map_err(Invalid::Value));
        // The field itself says that there is null; a variable alone has been looked at.
        let known = self.values.is_some() || !has_variable(value);
        if known && !self.null_where_it_may_not_stand && !matches!(value, Value::Variable(_)) {
            checked = checked.and_then(|()| {
                let value = constant(self.values, value);
                verify(self.types, &value, &input.ty, &mut place).map_err(Invalid::Value)
            });
        }
        self.null_where_it_may_not_stand |= before;
        checked
    }

    /// Checks a value as it is written against a type.
    fn literal(
        &mut self,
        value: &Value,
        ty: &Type,
        has_default: bool,
        place: &mut Place,
    ) -> Result<(), Invalid> {
        match (&ty.base, value) {
            (_, Value::Variable(name)) => self.usage(name, ty, has_default),
            (_, Value::Null) if ty.nullable => Ok(()),
            (_, Value::Null) => Ok(wrong(place, wording::unexpected(ty, &ConstValue::Null))?),
            (BaseType::List(item), Value::List(items)) => {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(index, value)| {
                    within(place, format!("[{index}]"), |place| {
                        self.literal(value, item, false, place)
                    })
                })
            }
            (BaseType::List(item), single) => self.literal(single, item, false, place),
            (BaseType::Named(name), value) => self.named_literal(value, name, place),
        }
    }

    fn named_literal(&mut self, value: &Value, name: &str, place: &mut Place) -> Result<(), Invalid> {
        let written = || constant(self.values, value);
        match (self.types.kind(name), value) {
            (Some(Kind::Enum(values)), Value::Enum(given)) if values.contains(given.as_str()) => Ok(()),
            (Some(Kind::Enum(_)), _) => Ok(wrong(place, wording::no_member(name, &written()))?),
            (Some(Kind::Input { fields, one_of }), Value::Object(given)) => {
                if *one_of && given.len() != 1 {
                    return Ok(wrong(place, wording::one_key(name))?);
                }
                self.object(fields, given, name, place)
            }
            (Some(Kind::Input { .. }), _) => Ok(wrong(place, wording::unexpected(&name, &written()))?),
            (Some(Kind::Scalar), value) if !is_written(name, value) => {
                Ok(wrong(place, wording::no_scalar(name, &written()))?)
            }
            _ => Ok(()),
        }
    }

    fn object(
        &mut self,
        fields: &[Input],
        given: &async_graphql::indexmap::IndexMap<Name, Value>,
        name: &str,
        place: &mut Place,
    ) -> Result<(), Invalid> {
        let unknown = |key: &&Name| fields.iter().all(|field| field.name != key.as_str());
        if let Some(unknown) = given.keys().find(unknown) {
            return Ok(wrong(place, wording::unknown_field(name, unknown))?);
        }
        fields
            .iter()
            .try_for_each(|field| match given.get(field.name.as_str()) {
                Some(value) => within(place, format!(".{}", field.name), |place| {
                    self.literal(value, &field.ty, field.has_default, place)
                }),
                None if field.ty.nullable || field.has_default => Ok(()),
                None => Ok(wrong(
                    place,
                    wording::missing_field(name, &field.name, &field.ty),
                )?),
            })
    }

    /// Whether a variable may stand where `ty` is expected (5.8.5, `IsVariableUsageAllowed`).
    fn usage(&mut self, name: &Name, ty: &Type, has_default: bool) -> Result<(), Invalid> {
        let Some(definition) = self.variables.get(name.as_str()) else {
            return Ok(());
        };
        let declared = &definition.var_type.node;
        let defaulted = definition
            .default_value
            .as_ref()
            .is_some_and(|default| default.node != ConstValue::Null);
        let allowed = if !ty.nullable && declared.nullable {
            (defaulted || has_default) && same_base(&declared.base, &ty.base)
        } else {
            compatible(declared, ty)
        };
        if allowed {
            self.null_where_it_may_not_stand |= !ty.nullable && self.is_null(name);
            Ok(())
        } else {
            Err(Invalid::Usage(format!(
                "Variable \"${name}\" of type \"{declared}\" used in position expecting type \"{ty}\"."
            )))
        }
    }
}

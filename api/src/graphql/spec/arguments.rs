//! Arguments as they are written: literals of the right type (5.6.1 to 5.6.4), variables where they may stand
//! (5.8.5).
//!
//! One rule: the operation that runs is walked with each of its fragments once. What the schema does not know
//! is left to the library's validation, which names it.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    BaseType, Directive, FragmentDefinition, OperationDefinition, Selection, SelectionSet, Type,
    VariableDefinition,
};
use async_graphql::{Name, Pos, Positioned, ServerError, Value as ConstValue, Variables};
use async_graphql_value::Value;

use super::checks::{one_key, verify};
use super::omitted::given;
use super::types::{Input, Kind, TypeSystem, named};
use super::wording::{self, Place, Wrong, within, wrong};
use super::{refusal, root_of, values};

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// Checks all arguments of an operation, and says whether the field has to say what is wrong with one: a null
/// was given for a variable that may be null, where null may not stand (5.8.5, "Allowing optional variables
/// when default values exist"). The library refuses the whole request for it.
///
/// # Errors
/// One for each argument that is wrong.
pub(super) fn check(
    types: &TypeSystem,
    operation: &OperationDefinition,
    fragments: &Fragments,
    values: &Variables,
) -> Result<bool, Vec<ServerError>> {
    let definitions = operation
        .variable_definitions
        .iter()
        .map(|definition| &definition.node);
    let mut walk = Walk {
        types,
        fragments,
        variables: definitions.map(|d| (d.name.node.as_str(), d)).collect(),
        values,
        null_where_it_may_not_stand: false,
        visited: HashSet::new(),
        errors: Vec::new(),
    };
    let root = root_of(types, operation.ty);
    walk.defaults(operation);
    walk.directives(&operation.directives);
    walk.set(&operation.selection_set.node, root);
    if walk.errors.is_empty() {
        Ok(walk.null_where_it_may_not_stand)
    } else {
        Err(walk.errors)
    }
}

/// Why an argument is refused.
enum Fault {
    /// Its value is not of its type.
    Value(Wrong),
    /// A variable stands in it that may not; the whole message.
    Usage(String),
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        Self::Value(wrong)
    }
}

struct Walk<'a> {
    types: &'a TypeSystem,
    fragments: &'a Fragments,
    variables: HashMap<&'a str, &'a VariableDefinition>,
    values: &'a Variables,
    null_where_it_may_not_stand: bool,
    visited: HashSet<&'a str>,
    errors: Vec<ServerError>,
}

impl<'a> Walk<'a> {
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
            if let Err(Fault::Value(Wrong { at, what })) =
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
                && self.values.get(name) == Some(&ConstValue::Null)
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
                None => no_nul(&value.node, &name.node).map_err(Fault::Value),
            };
            let message = match checked {
                Ok(()) => continue,
                Err(Fault::Usage(message)) => message,
                Err(Fault::Value(Wrong { at, what })) => {
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
    fn argument(&mut self, value: &Value, input: &Input) -> Result<(), Fault> {
        let before = std::mem::take(&mut self.null_where_it_may_not_stand);
        let mut place = vec![input.name.clone()];
        let mut checked = self.literal(value, &input.ty, input.has_default, &mut place);
        checked = checked.and_then(|()| no_nul(value, &input.name).map_err(Fault::Value));
        // The field itself says that there is null; a variable alone has been looked at.
        if !self.null_where_it_may_not_stand && !matches!(value, Value::Variable(_)) {
            checked = checked.and_then(|()| {
                let value = constant(self.values, value);
                verify(self.types, &value, &input.ty, &mut place).map_err(Fault::Value)
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
    ) -> Result<(), Fault> {
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

    fn named_literal(&mut self, value: &Value, name: &str, place: &mut Place) -> Result<(), Fault> {
        let written = || constant(self.values, value);
        match (self.types.kind(name), value) {
            (Some(Kind::Enum(values)), Value::Enum(given)) if values.contains(given.as_str()) => Ok(()),
            (Some(Kind::Enum(_)), _) => Ok(wrong(place, wording::no_member(name, &written()))?),
            (Some(Kind::Input { fields, one_of }), Value::Object(given)) => {
                if *one_of && given.len() != 1 {
                    return Ok(wrong(place, one_key(name))?);
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
    ) -> Result<(), Fault> {
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
    fn usage(&mut self, name: &Name, ty: &Type, has_default: bool) -> Result<(), Fault> {
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
            self.null_where_it_may_not_stand |=
                !ty.nullable && self.values.get(name) == Some(&ConstValue::Null);
            Ok(())
        } else {
            Err(Fault::Usage(format!(
                "Variable \"${name}\" of type \"{declared}\" used in position expecting type \"{ty}\"."
            )))
        }
    }
}

/// Whether each value of `variable` is one of `location` (5.8.5, `AreTypesCompatible`).
fn compatible(variable: &Type, location: &Type) -> bool {
    (location.nullable || !variable.nullable) && same_base(&variable.base, &location.base)
}

fn same_base(variable: &BaseType, location: &BaseType) -> bool {
    match (variable, location) {
        (BaseType::Named(variable), BaseType::Named(location)) => variable == location,
        (BaseType::List(variable), BaseType::List(location)) => compatible(variable, location),
        _ => false,
    }
}

/// Whether a literal is one of the built-in scalars (3.5); what is one of the others, their own code says.
fn is_written(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("Int", Value::Number(number)) => number
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        ("Float", Value::Number(_))
        | ("String" | "ID", Value::String(_))
        | ("Boolean", Value::Boolean(_)) => true,
        ("ID", Value::Number(number)) => number.is_i64() || number.is_u64(),
        ("Int" | "Float" | "String" | "ID" | "Boolean", _) => false,
        _ => true,
    }
}

/// A value with its variables replaced; those that were omitted are left out.
fn constant(values: &Variables, value: &Value) -> ConstValue {
    let of = |name: Name| Ok::<_, ()>(values.get(&name).cloned().unwrap_or_default());
    let given = given(values, value).unwrap_or(Value::Null);
    given.into_const_with(of).unwrap_or_default()
}

/// Refuses U+0000 in what is written in a document; variables are looked at where they are coerced.
fn no_nul(value: &Value, at: &str) -> Result<(), Wrong> {
    let known = value
        .clone()
        .into_const_with(|_| Ok::<_, ()>(ConstValue::Null))
        .unwrap_or_default();
    values::no_nul(&known, &mut vec![at.to_owned()])
}

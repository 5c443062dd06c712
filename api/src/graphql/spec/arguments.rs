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
use async_graphql::{Name, Positioned, ServerError, Value as ConstValue, Variables};
use async_graphql_value::Value;

use super::types::{Input, Kind, TypeSystem, named};
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
    walk.directives(&operation.directives);
    walk.set(&operation.selection_set.node, root);
    if walk.errors.is_empty() {
        Ok(walk.null_where_it_may_not_stand)
    } else {
        Err(walk.errors)
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
    fn set(&mut self, set: &'a SelectionSet, parent: Option<&'a str>) {
        for selection in &set.items {
            self.directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => {
                    let name = field.node.name.node.as_str();
                    let known = parent.and_then(|parent| self.types.field(parent, name));
                    let inputs = known.map_or(&[][..], |field| &field.arguments);
                    self.arguments(&field.node.arguments, inputs, name);
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
        for Positioned { node: directive, .. } in directives {
            let name = directive.name.node.as_str();
            let inputs = match name {
                "skip" | "include" => &condition[..],
                _ => &[],
            };
            self.arguments(&directive.arguments, inputs, name);
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

    /// `of` is the field's or the directive's name.
    fn arguments(&mut self, given: &'a [(Positioned<Name>, Positioned<Value>)], inputs: &[Input], of: &str) {
        for (name, value) in given {
            let input = inputs.iter().find(|input| input.name == name.node.as_str());
            let mut checked = Ok(());
            if let Some(input) = input {
                checked = self.literal(&value.node, &input.ty, input.has_default, &name.node);
            }
            let checked = checked.and_then(|()| no_nul(&value.node, &name.node));
            if let Err(what) = checked {
                let message = format!("Argument \"{}\" of \"{of}\": {what}", name.node);
                self.errors.push(refusal(message, value.pos));
            }
        }
    }

    /// Checks a value against a type; `at` is the path to it.
    fn literal(&mut self, value: &Value, ty: &Type, has_default: bool, at: &str) -> Result<(), String> {
        match (&ty.base, value) {
            (_, Value::Variable(name)) => self.usage(name, ty, has_default),
            (_, Value::Null) if ty.nullable => Ok(()),
            (_, Value::Null) => Err(format!("expected \"{ty}\" at \"{at}\", found null")),
            (BaseType::List(item), Value::List(items)) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, value)| self.literal(value, item, false, &format!("{at}[{index}]"))),
            (BaseType::List(item), single) => self.literal(single, item, false, at),
            (BaseType::Named(name), value) => self.named_literal(value, name, at),
        }
    }

    fn named_literal(&mut self, value: &Value, name: &str, at: &str) -> Result<(), String> {
        let fits = match (self.types.kind(name), value) {
            (Some(Kind::Enum(values)), Value::Enum(given)) => values.contains(given.as_str()),
            (Some(Kind::Input(fields)), Value::Object(given)) => return self.object(fields, given, name, at),
            (Some(Kind::Enum(_) | Kind::Input(_)), _) => false,
            (Some(Kind::Scalar), value) => match (name, value) {
                ("Int", Value::Number(number)) => number
                    .as_i64()
                    .is_some_and(|number| i32::try_from(number).is_ok()),
                ("Float", Value::Number(_))
                | ("String" | "ID", Value::String(_))
                | ("Boolean", Value::Boolean(_)) => true,
                ("ID", Value::Number(number)) => number.is_i64() || number.is_u64(),
                ("Int" | "Float" | "String" | "ID" | "Boolean", _) => false,
                _ => true,
            },
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("expected \"{name}\" at \"{at}\""))
        }
    }

    fn object(
        &mut self,
        fields: &[Input],
        given: &async_graphql::indexmap::IndexMap<Name, Value>,
        name: &str,
        at: &str,
    ) -> Result<(), String> {
        if let Some(unknown) = given
            .keys()
            .find(|key| fields.iter().all(|f| f.name != key.as_str()))
        {
            return Err(format!("\"{name}\" at \"{at}\" has no field \"{unknown}\""));
        }
        fields
            .iter()
            .try_for_each(|field| match given.get(field.name.as_str()) {
                Some(value) => self.literal(
                    value,
                    &field.ty,
                    field.has_default,
                    &format!("{at}.{}", field.name),
                ),
                None if field.ty.nullable || field.has_default => Ok(()),
                None => Err(format!("\"{}\" at \"{at}.{}\" is required", field.ty, field.name)),
            })
    }

    /// Whether a variable may stand where `ty` is expected (5.8.5, `IsVariableUsageAllowed`).
    fn usage(&mut self, name: &Name, ty: &Type, has_default: bool) -> Result<(), String> {
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
            Err(format!(
                "the variable \"${name}\" of type \"{declared}\" stands where \"{ty}\" is expected"
            ))
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

/// Refuses U+0000 in what is written in a document; variables are looked at where they are coerced.
fn no_nul(value: &Value, at: &str) -> Result<(), String> {
    let known = value
        .clone()
        .into_const_with(|_| Ok::<_, ()>(ConstValue::Null))
        .unwrap_or_default();
    values::no_nul(&known, &mut vec![at.to_owned()])
        .map_err(|wrong| format!("{} (at \"{}\")", wrong.what, wrong.at))
}

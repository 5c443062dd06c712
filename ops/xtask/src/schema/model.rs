//! A GraphQL schema as lint and comparison see it.
//!
//! One rule: it is read from the definition that is committed, never from the program.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use async_graphql_parser::{
    Positioned, parse_schema,
    types::{
        BaseType, ConstDirective, FieldDefinition, InputValueDefinition, Type, TypeDefinition, TypeKind,
        TypeSystemDefinition,
    },
};
use async_graphql_value::ConstValue;

/// What a type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    Enum,
    Input,
    Object,
    Interface,
    Union,
}

/// A field, an argument, a field of an input object, or a value of an enum (without a type).
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) described: bool,
    pub(super) ty: Option<Type>,
    pub(super) default: Option<String>,
    pub(super) arguments: BTreeMap<String, Member>,
    /// Deprecated, with this reason.
    pub(super) deprecated: Option<String>,
}

/// A type.
#[derive(Clone, Debug)]
pub(super) struct TypeModel {
    pub(super) kind: Kind,
    pub(super) described: bool,
    pub(super) members: BTreeMap<String, Member>,
    /// The interfaces of an object, the members of a union.
    pub(super) related: Vec<String>,
    pub(super) specified_by: Option<String>,
}

/// A schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    pub(super) types: BTreeMap<String, TypeModel>,
    pub(super) query: Option<String>,
    pub(super) mutation: Option<String>,
}

/// The name at the bottom of a type.
pub(super) fn named(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(item) => named(item),
    }
}

impl Schema {
    /// Reads a definition.
    pub(super) fn read(definition: &str) -> Result<Self> {
        let document = parse_schema(definition).context("this is no GraphQL schema")?;
        let mut schema = Self::default();
        for definition in document.definitions {
            match definition {
                TypeSystemDefinition::Schema(roots) => {
                    let name = |root: Option<Positioned<_>>| root.map(|root| ToString::to_string(&root.node));
                    schema.query = name(roots.node.query);
                    schema.mutation = name(roots.node.mutation);
                }
                TypeSystemDefinition::Type(ty) => {
                    schema
                        .types
                        .insert(ty.node.name.node.to_string(), type_model(ty.node));
                }
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        Ok(schema)
    }

    /// The members of a root type.
    pub(super) fn root(&self, name: Option<&String>) -> impl Iterator<Item = (&String, &Member)> {
        let root = name.and_then(|name| self.types.get(name));
        root.into_iter().flat_map(|root| &root.members)
    }

    /// The objects of an interface or union.
    pub(super) fn possible(&self, name: &str) -> Vec<&str> {
        match self.types.get(name).map(|ty| (ty.kind, &ty.related)) {
            Some((Kind::Union, members)) => members.iter().map(String::as_str).collect(),
            Some((Kind::Interface, _)) => {
                let types = self.types.iter();
                let found = types
                    .filter(|(_, ty)| ty.kind == Kind::Object && ty.related.iter().any(|one| one == name));
                found.map(|(object, _)| object.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn text(directives: &[Positioned<ConstDirective>], directive: &str, argument: &str) -> Option<String> {
    let found = directives.iter().find(|one| one.node.name.node == directive)?;
    let value = found.node.get_argument(argument).map(|value| &value.node);
    match value {
        Some(ConstValue::String(text)) => Some(text.clone()),
        _ => Some(String::new()),
    }
}

fn type_model(ty: TypeDefinition) -> TypeModel {
    let specified_by = text(&ty.directives, "specifiedBy", "url");
    let mut related = Vec::new();
    let (kind, members) = match ty.kind {
        TypeKind::Scalar => (Kind::Scalar, BTreeMap::new()),
        TypeKind::Enum(of) => {
            let value = |value: Positioned<async_graphql_parser::types::EnumValueDefinition>| {
                let value = value.node;
                let member = Member {
                    described: value.description.is_some(),
                    ty: None,
                    default: None,
                    arguments: BTreeMap::new(),
                    deprecated: text(&value.directives, "deprecated", "reason"),
                };
                (value.value.node.to_string(), member)
            };
            (Kind::Enum, of.values.into_iter().map(value).collect())
        }
        TypeKind::InputObject(of) => (Kind::Input, inputs(of.fields)),
        TypeKind::Interface(of) => (Kind::Interface, fields(of.fields)),
        TypeKind::Union(of) => {
            related = of.members.iter().map(|name| name.node.to_string()).collect();
            (Kind::Union, BTreeMap::new())
        }
        TypeKind::Object(of) => {
            related = of.implements.iter().map(|name| name.node.to_string()).collect();
            (Kind::Object, fields(of.fields))
        }
    };
    TypeModel {
        kind,
        described: ty.description.is_some(),
        members,
        related,
        specified_by,
    }
}

fn fields(of: Vec<Positioned<FieldDefinition>>) -> BTreeMap<String, Member> {
    let member = |field: Positioned<FieldDefinition>| {
        let field = field.node;
        let member = Member {
            described: field.description.is_some(),
            ty: Some(field.ty.node),
            default: None,
            arguments: inputs(field.arguments),
            deprecated: text(&field.directives, "deprecated", "reason"),
        };
        (field.name.node.to_string(), member)
    };
    of.into_iter().map(member).collect()
}

fn inputs(of: Vec<Positioned<InputValueDefinition>>) -> BTreeMap<String, Member> {
    let member = |input: Positioned<InputValueDefinition>| {
        let input = input.node;
        let member = Member {
            described: input.description.is_some(),
            ty: Some(input.ty.node),
            default: input.default_value.map(|value| value.node.to_string()),
            arguments: BTreeMap::new(),
            deprecated: text(&input.directives, "deprecated", "reason"),
        };
        (input.name.node.to_string(), member)
    };
    of.into_iter().map(member).collect()
}

//! The schema's types, as far as inputs and the merging of fields need them.
//!
//! One rule: they are read from the definition that the library writes of its own schema, so there is no second
//! list to keep. What is not in it (the introspection types) is unknown, and passes.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, InputValueDefinition, OperationType, Type, TypeDefinition, TypeKind,
    TypeSystemDefinition,
};
use async_graphql::{Name, Positioned};

use super::checks::InputChecks;

/// The scalars of the specification (3.5).
const BUILT_IN: [&str; 5] = ["Int", "Float", "String", "Boolean", "ID"];

/// An argument, or a field of an input object.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) ty: Type,
    /// Whether something else than null stands there when it is not given.
    pub(super) has_default: bool,
}

/// A field of an object or an interface.
pub(super) struct Field {
    pub(super) arguments: Vec<Input>,
    pub(super) ty: Type,
}

/// What a name stands for.
pub(super) enum Kind {
    Scalar,
    Enum(HashSet<String>),
    Input {
        fields: Vec<Input>,
        /// Whether exactly one of the fields has to be given.
        one_of: bool,
    },
    Object(HashMap<String, Field>),
    Interface(HashMap<String, Field>),
    Union,
}

/// All types of a schema.
pub(super) struct TypeSystem {
    kinds: HashMap<String, Kind>,
    /// The objects that an interface or union may stand for.
    possible: HashMap<String, Vec<String>>,
    roots: Vec<(OperationType, String)>,
    /// What reads the inputs that the definition only names.
    pub(super) checks: InputChecks,
}

impl TypeSystem {
    /// Reads a schema's definition.
    ///
    /// # Panics
    /// When it is not one, or when `checks` cannot read one of its custom scalars or input objects.
    pub(super) fn of(definition: &str, checks: InputChecks) -> Self {
        let document = parse_schema(definition).expect("the library reads what it has written");
        let mut this = Self {
            kinds: BUILT_IN.map(|name| (name.to_owned(), Kind::Scalar)).into(),
            possible: HashMap::new(),
            roots: Vec::new(),
            checks,
        };
        for definition in document.definitions {
            match definition {
                TypeSystemDefinition::Schema(schema) => {
                    let schema = schema.node;
                    let roots = [
                        (OperationType::Query, schema.query),
                        (OperationType::Mutation, schema.mutation),
                        (OperationType::Subscription, schema.subscription),
                    ];
                    let named = roots
                        .into_iter()
                        .filter_map(|(kind, name)| Some((kind, name?.node.to_string())));
                    this.roots.extend(named);
                }
                TypeSystemDefinition::Type(ty) => this.add(ty.node),
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        this.add_questions();
        let unread = this.unread();
        assert!(unread.is_empty(), "the options do not say how to read {unread:?}");
        this
    }

    /// The fields about the schema (4.1), which definitions do not write.
    fn add_questions(&mut self) {
        let ty = |name: &str| Type {
            base: BaseType::Named(Name::new(name)),
            nullable: name == "__Type",
        };
        let name = Input {
            name: "name".to_owned(),
            ty: ty("String"),
            has_default: false,
        };
        let root = self.root(OperationType::Query).map(str::to_owned);
        let root = root.and_then(|root| self.kinds.get_mut(&root));
        if let Some(Kind::Object(fields)) = root {
            for (field, arguments) in [("__schema", vec![]), ("__type", vec![name])] {
                let ty = ty(if field == "__type" { "__Type" } else { "__Schema" });
                fields.insert(field.to_owned(), Field { arguments, ty });
            }
        }
    }

    /// The custom scalars and input objects without a check; scalars only where they are inputs.
    fn unread(&self) -> BTreeSet<&str> {
        let inputs = self.kinds.values().flat_map(|kind| match kind {
            Kind::Input { fields, .. } => fields.iter().collect(),
            Kind::Object(fields) | Kind::Interface(fields) => {
                fields.values().flat_map(|field| &field.arguments).collect()
            }
            Kind::Scalar | Kind::Enum(_) | Kind::Union => Vec::new(),
        });
        let custom = |name: &&str| match self.kinds.get(*name) {
            Some(Kind::Scalar) => !BUILT_IN.contains(name),
            Some(Kind::Input { .. }) => true,
            _ => false,
        };
        let names = inputs.map(|input| named(&input.ty)).filter(custom);
        names.filter(|name| !self.checks.contains(name)).collect()
    }

    fn add(&mut self, ty: TypeDefinition) {
        let name = ty.name.node.to_string();
        let one_of = ty
            .directives
            .iter()
            .any(|directive| directive.node.name.node == "oneOf");
        let kind = match ty.kind {
            TypeKind::Scalar => Kind::Scalar,
            TypeKind::Enum(of) => {
                Kind::Enum(of.values.iter().map(|v| v.node.value.node.to_string()).collect())
            }
            TypeKind::InputObject(of) => Kind::Input {
                fields: inputs(of.fields),
                one_of,
            },
            TypeKind::Interface(of) => Kind::Interface(fields(of.fields)),
            TypeKind::Union(of) => {
                let members = of.members.iter().map(|member| member.node.to_string());
                self.possible.entry(name.clone()).or_default().extend(members);
                Kind::Union
            }
            TypeKind::Object(of) => {
                for interface in &of.implements {
                    let possible = self.possible.entry(interface.node.to_string()).or_default();
                    possible.push(name.clone());
                }
                Kind::Object(fields(of.fields))
            }
        };
        self.kinds.insert(name, kind);
    }

    /// What `name` stands for, if it is known.
    pub(super) fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// A field of an object or interface.
    pub(super) fn field(&self, parent: &str, name: &str) -> Option<&Field> {
        match self.kinds.get(parent)? {
            Kind::Object(fields) | Kind::Interface(fields) => fields.get(name),
            _ => None,
        }
    }

    /// The root type of a kind of operation.
    pub(super) fn root(&self, kind: OperationType) -> Option<&str> {
        let mut roots = self.roots.iter();
        roots.find(|(of, _)| *of == kind).map(|(_, name)| name.as_str())
    }

    /// Whether a value of the type may be of several objects.
    pub(super) fn is_abstract(&self, name: &str) -> bool {
        matches!(self.kinds.get(name), Some(Kind::Interface(_) | Kind::Union))
    }

    /// Whether values of the type have no fields.
    pub(super) fn is_leaf(&self, name: &str) -> bool {
        matches!(self.kinds.get(name), Some(Kind::Scalar | Kind::Enum(_)))
    }

    /// The objects that a type may stand for; an object stands for itself.
    pub(super) fn possible<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        if self.is_abstract(name) {
            let possible = self.possible.get(name).into_iter().flatten();
            possible.map(String::as_str).collect()
        } else {
            vec![name]
        }
    }
}

/// The name at the bottom of a type.
pub(super) fn named(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(item) => named(item),
    }
}

fn fields(of: Vec<Positioned<FieldDefinition>>) -> HashMap<String, Field> {
    of.into_iter()
        .map(|field| {
            let field = field.node;
            let ty = field.ty.node;
            (
                field.name.node.to_string(),
                Field {
                    arguments: inputs(field.arguments),
                    ty,
                },
            )
        })
        .collect()
}

fn inputs(of: Vec<Positioned<InputValueDefinition>>) -> Vec<Input> {
    of.into_iter()
        .map(|input| Input {
            name: input.node.name.node.to_string(),
            ty: input.node.ty.node,
            has_default: input.node.default_value.is_some(),
        })
        .collect()
}

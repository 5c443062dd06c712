//! A schema in which everything can be null, fail, be late or be nested; `corpus/generate.mjs` has its twin.
//!
//! One rule: nothing here depends on anything but the arguments and the place in the tree, so both libraries
//! have to give the same answer.

mod echo;

use std::sync::atomic::{AtomicI32, Ordering};

use api::graphql::spec::{InputChecks, SpecOptions, SpecSchema};
use async_graphql::{
    Context, Error, ErrorExtensions, ID, Interface, Object, Result, Schema, SchemaBuilder, Subscription,
    Union,
};
use futures::Stream;
use futures::stream;

use echo::Echo;

/// The schema that both libraries execute.
pub type Twin = SpecSchema<Query, Mutation, Subscriptions>;

/// The schema without anything behind it.
pub fn builder() -> SchemaBuilder<Query, Mutation, Subscriptions> {
    Schema::build(Query, Mutation, Subscriptions)
        .limit_depth(16)
        .limit_recursive_depth(32)
        .limit_directives(5)
}

/// What the schema is executed with.
pub fn options() -> SpecOptions {
    SpecOptions {
        inputs: InputChecks::default().with::<echo::Filter>(),
        ..SpecOptions::default()
    }
}

/// What a mutation counts; a fresh one for each request.
#[derive(Default)]
pub struct Counted(AtomicI32);

fn fault<T>() -> Result<T> {
    Err(Error::new("fails").extend_with(|_, extensions| extensions.set("code", "CONFLICT")))
}

async fn late() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

/// A node of an endless tree.
#[derive(Clone, Copy)]
pub struct Thing(i32);

#[derive(Clone, Copy)]
pub struct Dog(i32);

#[derive(Clone, Copy)]
pub struct Cat(i32);

#[derive(Clone, Copy)]
pub struct Rock(i32);

#[derive(Union)]
pub enum Pet {
    Dog(Dog),
    Cat(Cat),
    Rock(Rock),
}

#[expect(
    clippy::duplicated_attributes,
    reason = "two fields of one type are two fields"
)]
#[derive(Interface)]
#[graphql(
    field(name = "name", ty = "String"),
    field(name = "soft", ty = "Option<String>"),
    field(name = "hard", ty = "String"),
    field(name = "owner", ty = "Thing"),
    field(name = "friend", ty = "Option<Thing>")
)]
pub enum Animal {
    Dog(Dog),
    Cat(Cat),
}

#[Object]
impl Dog {
    async fn name(&self) -> String {
        format!("dog {}", self.0)
    }
    async fn soft(&self) -> Result<Option<String>> {
        fault()
    }
    async fn hard(&self) -> Result<String> {
        fault()
    }
    async fn owner(&self) -> Thing {
        Thing(self.0 + 1)
    }
    async fn friend(&self) -> Option<Thing> {
        Some(Thing(self.0 + 2))
    }
    async fn barks(&self) -> bool {
        late().await;
        true
    }
    async fn weight(&self) -> i32 {
        30
    }
}

#[Object]
impl Cat {
    async fn name(&self) -> String {
        late().await;
        format!("cat {}", self.0)
    }
    async fn soft(&self) -> Option<String> {
        Some("purr".to_owned())
    }
    async fn hard(&self) -> String {
        "claw".to_owned()
    }
    async fn owner(&self) -> Thing {
        Thing(self.0 + 3)
    }
    async fn friend(&self) -> Option<Thing> {
        None
    }
    async fn lives(&self) -> i32 {
        9
    }
    async fn weight(&self) -> i32 {
        4
    }
}

#[Object]
impl Rock {
    async fn weight(&self) -> Result<i32> {
        if self.0 % 2 == 0 { Ok(self.0) } else { fault() }
    }
}

fn pet(n: i32) -> Pet {
    match n % 3 {
        0 => Pet::Dog(Dog(n)),
        1 => Pet::Cat(Cat(n)),
        _ => Pet::Rock(Rock(n)),
    }
}

fn animal(n: i32) -> Animal {
    if n % 2 == 0 {
        Animal::Dog(Dog(n))
    } else {
        Animal::Cat(Cat(n))
    }
}

#[Object]
impl Thing {
    async fn id(&self) -> ID {
        ID(self.0.to_string())
    }
    async fn number(&self) -> i32 {
        self.0
    }
    async fn slow(&self) -> String {
        late().await;
        format!("slow {}", self.0)
    }
    async fn absent(&self) -> Option<String> {
        None
    }
    async fn soft(&self) -> Result<Option<String>> {
        fault()
    }
    async fn hard(&self) -> Result<String> {
        fault()
    }
    /// Fails where the number is odd.
    async fn even(&self) -> Result<i32> {
        if self.0 % 2 == 0 { Ok(self.0) } else { fault() }
    }
    async fn child(&self) -> Option<Thing> {
        Some(Thing(self.0 + 1))
    }
    async fn strict_child(&self) -> Thing {
        Thing(self.0 + 2)
    }
    async fn no_child(&self) -> Option<Thing> {
        None
    }
    async fn soft_child(&self) -> Result<Option<Thing>> {
        fault()
    }
    async fn hard_child(&self) -> Result<Thing> {
        fault()
    }
    async fn children(&self, #[graphql(default = 2)] count: i32) -> Result<Option<Vec<Option<Thing>>>> {
        if count > 3 {
            return fault();
        }
        Ok(Some(
            (0..count)
                .map(|n| (n != 1).then_some(Thing(self.0 + n)))
                .collect(),
        ))
    }
    async fn strict_children(&self, #[graphql(default = 2)] count: i32) -> Result<Vec<Thing>> {
        if count > 3 {
            return fault();
        }
        Ok((0..count).map(|n| Thing(self.0 + n)).collect())
    }
    async fn grid(&self) -> Vec<Vec<Thing>> {
        (0..2)
            .map(|n| vec![Thing(self.0 + n), Thing(self.0 + n + 1)])
            .collect()
    }
    async fn loose_grid(&self) -> Option<Vec<Option<Vec<Option<Thing>>>>> {
        Some(vec![
            Some(vec![Some(Thing(self.0)), None, Some(Thing(self.0 + 1))]),
            None,
            Some(Vec::new()),
        ])
    }
    async fn half_strict_grid(&self) -> Option<Vec<Option<Vec<Thing>>>> {
        Some(vec![Some(vec![Thing(self.0)]), Some(vec![Thing(self.0 + 1)])])
    }
    async fn soft_items(&self) -> Vec<Result<Option<String>>> {
        vec![Ok(Some("a".to_owned())), fault(), Ok(None)]
    }
    async fn hard_items(&self) -> Option<Vec<Result<String>>> {
        Some(vec![Ok("a".to_owned()), fault()])
    }
    async fn numbers(&self) -> Vec<Option<i32>> {
        vec![Some(self.0), None]
    }
    async fn pet(&self) -> Option<Pet> {
        Some(pet(self.0))
    }
    async fn pets(&self) -> Vec<Pet> {
        (self.0..self.0 + 3).map(pet).collect()
    }
    async fn animal(&self) -> Animal {
        animal(self.0)
    }
    async fn animals(&self) -> Option<Vec<Option<Animal>>> {
        Some(vec![Some(animal(self.0)), None, Some(animal(self.0 + 1))])
    }
}

pub struct Query;

#[Object]
impl Query {
    async fn thing(&self) -> Thing {
        Thing(0)
    }
    async fn maybe(&self, #[graphql(default = 1)] number: i32) -> Option<Thing> {
        Some(Thing(number.clamp(0, 9)))
    }
    async fn things(&self) -> Option<Vec<Option<Thing>>> {
        Some(vec![Some(Thing(0)), Some(Thing(1)), None])
    }
    async fn strict_things(&self) -> Vec<Thing> {
        vec![Thing(4), Thing(5)]
    }
    async fn echo(&self) -> Echo {
        Echo
    }
    async fn version(&self) -> String {
        late().await;
        "1".to_owned()
    }
    async fn soft(&self) -> Result<Option<String>> {
        fault()
    }
    async fn hard(&self) -> Result<String> {
        fault()
    }
}

/// What a mutation counted.
pub struct Count(i32);

#[Object]
impl Count {
    async fn value(&self) -> i32 {
        late().await;
        self.0
    }
    async fn total(&self, context: &Context<'_>) -> Result<i32> {
        Ok(context.data::<Counted>()?.0.load(Ordering::SeqCst))
    }
    async fn soft(&self) -> Result<Option<String>> {
        fault()
    }
    async fn even(&self) -> Result<i32> {
        if self.0 % 2 == 0 { Ok(self.0) } else { fault() }
    }
}

pub struct Mutation;

fn add(context: &Context<'_>, by: i32) -> Result<Count> {
    let by = by.clamp(0, 9);
    Ok(Count(
        context.data::<Counted>()?.0.fetch_add(by, Ordering::SeqCst) + by,
    ))
}

#[Object]
impl Mutation {
    async fn add(&self, context: &Context<'_>, by: i32) -> Result<Option<Count>> {
        late().await;
        add(context, by).map(Some)
    }
    async fn strict_add(&self, context: &Context<'_>, #[graphql(default = 1)] by: i32) -> Result<Count> {
        add(context, by)
    }
    async fn soft(&self, context: &Context<'_>) -> Result<Option<Count>> {
        add(context, 9)?;
        fault()
    }
    async fn hard(&self) -> Result<Count> {
        fault()
    }
}

pub struct Subscriptions;

#[Subscription]
impl Subscriptions {
    async fn ticks(&self, #[graphql(default = 2)] count: i32) -> impl Stream<Item = Thing> {
        stream::iter((0..count.min(3)).map(Thing))
    }
    async fn loose_ticks(&self, #[graphql(default = 2)] count: i32) -> impl Stream<Item = Option<Thing>> {
        stream::iter((0..count.min(3)).map(|n| (n != 1).then_some(Thing(n))))
    }
    async fn rows(&self) -> impl Stream<Item = Vec<Thing>> {
        stream::iter([vec![Thing(0), Thing(1)], vec![Thing(2)], Vec::new()])
    }
    async fn refused(&self) -> Result<stream::Empty<i32>> {
        fault()
    }
}

//! What follows from events of identity: the mail of a registration, and the completion of an erasure.
//!
//! One rule: nobody gets a mail who was erased meanwhile, and nobody learns from the answer to a registration whether an
//! address has an account (SE-5): that is found out here.

use domain::{
    aggregate::decode,
    decision::{LoadedState, ReadSet},
    event_store::RecordedEvent,
    id::UserId,
    identity::{
        reservation::{Reservation, ReservationKey},
        user::{User, UserEvent},
    },
    notifications::mail::Mail,
};
use uuid::Uuid;

use super::{Act, Call, Context, Effect, ReactError, Reactor, Since, effect_id};

/// The account whose stream the event is in.
fn account(event: &RecordedEvent) -> Result<UserId, ReactError> {
    let user = event.stream.key().parse();
    user.map_err(|_| ReactError::Impossible("the event is in no stream of an account"))
}

/// Sends what a registration brings to its address: a verification token (ID-3), or, when another account has the address,
/// word that somebody tried.
pub struct Registrations;

impl Reactor for Registrations {
    const NAME: &'static str = "identity.registrations";
    const KINDS: &'static [&'static str] = &["identity.VerificationRequested"];

    fn reads(event: &RecordedEvent, loaded: &LoadedState, context: &Context<'_>, reads: &mut ReadSet) {
        let Ok(user) = account(event) else { return };
        reads.read::<User>(user);
        if let Some(key) = reserved(user, loaded, context) {
            reads.read::<Reservation>(key);
        }
    }

    fn react(
        event: &RecordedEvent,
        loaded: &LoadedState,
        context: &Context<'_>,
    ) -> Result<Vec<Effect>, ReactError> {
        let user = account(event)?;
        let UserEvent::VerificationRequested {
            token_hash,
            expires_at,
            // An earlier build has mailed it.
            token: Some(token),
        } = decode(event)?
        else {
            return Ok(Vec::new());
        };
        let state: User = loaded.get(user);
        let open = state
            .verification
            .as_ref()
            .is_some_and(|(hash, _)| *hash == token_hash);
        let (true, true, Some(key)) = (
            open && state.is_present(),
            expires_at > context.now,
            reserved(user, loaded, context),
        ) else {
            return Ok(Vec::new());
        };
        let holder = loaded.get::<Reservation>(&key).holder.unwrap_or(user);
        let to = state.profile.map(|profile| profile.email).unwrap_or_default();
        let id = effect_id(event, Self::NAME, "mail");
        let (subject, body) = match holder == user {
            true => verification(user, token, &token_hash, context)?,
            false => attempted(),
        };
        let mail = Mail {
            id,
            at: event.at,
            // What lies about of it goes with whoever has the address.
            person: holder,
            to,
            subject,
            body,
        };
        Ok(vec![Effect {
            id,
            recipient: Some(holder),
            act: Act::Mail(mail),
            gives_up: true,
            not_before: None,
        }])
    }
}

/// The reservation of the account's address, once the account is loaded; `None` of one that has no address any more.
fn reserved(user: UserId, loaded: &LoadedState, context: &Context<'_>) -> Option<ReservationKey> {
    let account = loaded.peek::<User>(user)?;
    let profile = account.profile.as_ref().filter(|_| account.is_present())?;
    let normalised = profile.email.trim().to_lowercase();
    Some(context.keys.reservation("email", &normalised))
}

fn verification(
    user: UserId,
    token: Uuid,
    hash: &str,
    context: &Context<'_>,
) -> Result<(String, String), ReactError> {
    let token = context.keys.verification_token(user, token, hash);
    let token = token.ok_or(ReactError::Impossible(
        "the verification token was made with another pepper; restore keys/pepper.key",
    ))?;
    let body = format!(
        "Welcome to Anneal.\n\nYour verification token, good for 24 hours:\n\n    {token}\n\n\
         Give it to the mutation verifyEmail."
    );
    Ok(("Verify your e-mail address".to_owned(), body))
}

fn attempted() -> (String, String) {
    let body = "Somebody tried to register at Anneal with this e-mail address, which already belongs to your account.\n\n\
                Your account has not changed, and they cannot use this address. If it was you: log in with the account \
                that you have.";
    let subject = "Somebody tried to register with your e-mail address";
    (subject.to_owned(), body.to_owned())
}

/// Carries out the erasure of a person (AU-7), however long ago it was decided.
pub struct Erasures;

impl Reactor for Erasures {
    const NAME: &'static str = "identity.erasures";
    const KINDS: &'static [&'static str] = &["identity.PersonErased"];
    const SINCE: Since = Since::Beginning;

    fn reads(event: &RecordedEvent, _: &LoadedState, _: &Context<'_>, reads: &mut ReadSet) {
        if let Ok(user) = account(event) {
            reads.read::<User>(user);
        }
    }

    fn react(
        event: &RecordedEvent,
        loaded: &LoadedState,
        _: &Context<'_>,
    ) -> Result<Vec<Effect>, ReactError> {
        let user = account(event)?;
        let open = loaded
            .peek::<User>(user)
            .is_some_and(|state| state.erased && !state.erasure_completed);
        let effect = Effect {
            id: effect_id(event, Self::NAME, "complete"),
            recipient: Some(user),
            act: Act::Call(Call::CompleteErasure(user)),
            // A person's right does not lapse because it failed often.
            gives_up: false,
            not_before: None,
        };
        Ok(open.then_some(effect).into_iter().collect())
    }
}

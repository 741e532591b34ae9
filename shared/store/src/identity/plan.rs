//! The rule, as a pure function of what is known: whom each item belongs to and what to write.
//!
//! What always holds: items are taken in order, and a later one sees what an earlier one of the
//! same call makes.

use parcours_domain::{ContactId, Handle};

use super::{Asked, IdentityQuery, Key, Kind, Known, NO_ROOM, Resolution, Resolved, value_hmac};
use crate::keys::TenantKeys;

/// What a call comes to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) resolved: Vec<Resolved>,
    /// Contacts to make.
    pub(super) contacts: Vec<(ContactId, Handle)>,
    /// Identities to attach.
    pub(super) attach: Vec<(Key, ContactId)>,
    /// Contacts to absorb: from, into.
    pub(super) absorb: Vec<(ContactId, ContactId)>,
    /// Known contacts that differ: the one taken, the other.
    pub(super) differ: Vec<(ContactId, ContactId)>,
}

impl Plan {
    /// A difference alone is recorded by the first call that meets it; an absorption under way
    /// has its row already. Neither can be told from here, so both count as writes.
    pub(super) const fn is_read_only(&self) -> bool {
        self.attach.is_empty() && self.absorb.is_empty() && self.differ.is_empty()
    }
}

pub(super) fn asked(query: &IdentityQuery, keys: &TenantKeys) -> Asked {
    let email = query.email.as_ref().map(|email| email.expose().to_owned());
    let given = [
        (Kind::UserId, query.user_id.clone()),
        (Kind::Email, email),
        (Kind::AnonymousId, query.anonymous_id.clone()),
    ];
    let given: Vec<(Kind, String)> = given
        .into_iter()
        .filter_map(|(kind, value)| Some((kind, value.filter(|value| !value.is_empty())?)))
        .collect();
    let mac = |kind: Kind, value: &str| value_hmac(keys, kind.as_str(), value);
    Asked {
        keys: given.iter().map(|(kind, value)| (*kind, mac(*kind, value))).collect(),
        value: given.into_iter().next().map(|(_, value)| value).unwrap_or_default(),
    }
}

/// The plan; at most `room` contacts are made.
pub(super) fn make(
    asked: &[Asked],
    mut known: Known,
    chance: &(dyn Fn(&str, &str) -> (ContactId, Handle) + Sync),
    room: u32,
) -> Plan {
    let mut plan = Plan::default();
    for one in asked {
        let resolved = resolve(one, &mut known, (&mut plan, room), chance);
        plan.resolved.push(resolved);
    }
    plan
}

fn resolve(
    asked: &Asked,
    known: &mut Known,
    (plan, room): (&mut Plan, u32),
    chance: &(dyn Fn(&str, &str) -> (ContactId, Handle) + Sync),
) -> Resolved {
    let Some(strongest) = asked.keys.first() else {
        return Resolved::refused("no_identity", "name the person: userId or anonymousId");
    };
    let contact = match taken(asked, known) {
        Some(contact) => contact,
        None if u32::try_from(plan.contacts.len()).is_ok_and(|made| made < room) => {
            let (contact, handle) = chance(strongest.0.as_str(), &asked.value);
            plan.contacts.push((contact, handle));
            contact
        }
        None => {
            let detail = "the brand has all the contacts that it may have; nobody new is taken in";
            return Resolved::refused(NO_ROOM, detail);
        }
    };
    let mut answer =
        Resolved { contact: Resolution::Contact(contact), absorb: None, differs: None };
    for key in &asked.keys {
        match known.contacts.get(key).copied() {
            None => {
                known.point(*key, contact);
                plan.attach.push((*key, contact));
            }
            Some(other) if other == contact => {}
            Some(other) if known.may_become(other, contact) => {
                // Until it is absorbed its identities point where they did; within this call
                // they are the target's already.
                known.contacts.insert(*key, contact);
                plan.absorb.push((other, contact));
                answer.absorb = Some(other);
            }
            Some(other) => {
                plan.differ.push((contact, other));
                answer.differs = Some(other);
            }
        }
    }
    answer
}

/// The contact of the strongest known identity, unless that contact is another known person.
fn taken(asked: &Asked, known: &Known) -> Option<ContactId> {
    let stronger_kinds = |upto: usize| asked.keys.iter().take(upto).map(|(kind, _)| *kind);
    asked.keys.iter().enumerate().find_map(|(at, key)| {
        let contact = *known.contacts.get(key)?;
        // Every stronger identity was unknown; it attaches here only if the contact has none of
        // that kind, and does not become somebody else in a moment.
        let free = at == 0 || !known.pending.contains_key(&contact);
        (free && stronger_kinds(at).all(|kind| !known.has(contact, kind))).then_some(contact)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const U: Key = (Kind::UserId, [1; 32]);
    const U2: Key = (Kind::UserId, [2; 32]);
    const A: Key = (Kind::AnonymousId, [3; 32]);
    const E: Key = (Kind::Email, [4; 32]);

    fn id(n: u128) -> ContactId {
        ContactId(Uuid::from_u128(n))
    }

    /// Contacts that exist by their identities; a query; expected contact, absorbed, differing.
    fn check(
        stored: &[(Key, u128)],
        query: &[Key],
        (contact, absorb, differs): (u128, Option<u128>, Option<u128>),
    ) -> Plan {
        let mut known = Known::default();
        for (key, contact) in stored {
            known.point(*key, id(*contact));
        }
        let asked = [Asked { keys: query.to_vec(), value: String::new() }];
        let plan = make(&asked, known, &|_, _| (id(99), Handle([0; 16])), 1);
        let expected = Resolved {
            contact: Resolution::Contact(id(contact)),
            absorb: absorb.map(id),
            differs: differs.map(id),
        };
        assert_eq!(plan.resolved, [expected]);
        plan
    }

    #[test]
    fn the_table_of_who_is_it() {
        check(&[], &[U], (99, None, None));
        check(&[], &[U, A], (99, None, None));
        check(&[(U, 1)], &[U], (1, None, None));
        // An unknown anonymousId attaches to the user's contact.
        check(&[(U, 1)], &[U, A], (1, None, None));
        // An anonymous-only contact is absorbed by the user's.
        check(&[(U, 1), (A, 2)], &[U, A], (1, Some(2), None));
        // An unknown userId attaches to the anonymous contact.
        check(&[(A, 2)], &[U, A], (2, None, None));
        // ... unless that one has a userId already: a new contact, and the difference is told.
        check(&[(A, 2), (U2, 2)], &[U, A], (99, None, Some(2)));
        // Two known people are never merged; the event is the userId's.
        check(&[(U, 1), (A, 2), (U2, 2)], &[U, A], (1, None, Some(2)));
        // An anonymous event on a known device is its owner's.
        check(&[(A, 2), (U2, 2)], &[A], (2, None, None));
        // E-mail as an identity ranks between the two.
        check(&[(E, 3)], &[U, E], (3, None, None));
        check(&[(E, 3), (A, 2)], &[E, A], (3, Some(2), None));
        check(&[(E, 3), (U2, 3)], &[U, E], (99, None, Some(3)));
        check(&[(U, 1), (E, 3)], &[U, E], (1, None, Some(3)));
    }

    #[test]
    fn items_of_one_call_see_one_another() {
        let asked = [vec![A], vec![U, A], vec![U]].map(|keys| Asked { keys, value: String::new() });
        let plan = make(&asked, Known::default(), &|_, _| (id(99), Handle([0; 16])), 1);
        assert_eq!(plan.contacts.len(), 1);
        assert_eq!(plan.attach.len(), 2);
        assert!(plan.absorb.is_empty() && plan.differ.is_empty());
    }

    #[test]
    fn without_room_only_the_known_are_found() {
        let mut known = Known::default();
        known.point(U, id(1));
        let asked = [vec![U2], vec![U], vec![U, A], vec![E]];
        let asked = asked.map(|keys| Asked { keys, value: String::new() });
        let of = |room| make(&asked, known.clone(), &|_, _| (id(99), Handle([0; 16])), room);
        let refused = |plan: &Plan| {
            let codes = plan.resolved.iter().map(|one| match &one.contact {
                Resolution::Refused { code, .. } => *code,
                Resolution::Contact(_) => "",
            });
            codes.collect::<Vec<_>>()
        };
        assert_eq!(refused(&of(0)), [NO_ROOM, "", "", NO_ROOM]);
        assert_eq!(refused(&of(1)), ["", "", "", NO_ROOM]);
        assert_eq!((of(0).contacts.len(), of(0).attach.len()), (0, 1), "the known goes on");
        assert_eq!(refused(&of(2)), [""; 4]);
    }

    #[test]
    fn nobody_is_refused() {
        let asked = [Asked { keys: Vec::new(), value: String::new() }];
        let plan = make(&asked, Known::default(), &|_, _| (id(99), Handle([0; 16])), 1);
        assert!(matches!(
            plan.resolved[0].contact,
            Resolution::Refused { code: "no_identity", .. }
        ));
        assert!(plan.is_read_only());
    }
}

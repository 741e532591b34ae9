//! From a send step's request to the message that is recorded.
//!
//! The template's version, the sender and the topic's class are those published at commit. What is
//! not published any more is recorded all the same, with template version 0 or a class that needs
//! consent, so that delivery refuses it where people can see it.

use parcours_domain::{Channel, EmailAddress, MessageClass, Value, value::Properties};
use parcours_journey::SendRequest;
use parcours_store::encode_data;

use crate::{brand::Brand, durable::NewMessage};

/// The name recorded where a brand has no default sender; nothing is published under it.
const NO_SENDER: &str = "unset";

/// The message for a request.
pub(crate) fn resolve(
    request: SendRequest,
    brand: &Brand,
    address: Option<&EmailAddress>,
) -> NewMessage {
    let topic = brand.topics.get(&request.topic);
    let class = topic.map_or(MessageClass::Marketing, |topic| topic.class);
    let sender = request.sender.or_else(|| brand.sender.clone());
    NewMessage {
        id: request.message,
        send_key: request.send_key,
        run: Some(request.run),
        journey: Some(request.journey),
        journey_version: Some(request.version),
        step: Some(request.step),
        occurrence: Some(request.occurrence),
        origin: "journey",
        template_version: brand.templates.get(&request.template).copied().unwrap_or(0),
        template: request.template,
        sender: sender.or_else(|| NO_SENDER.parse().ok()).unwrap_or_else(|| request.topic.clone()),
        topic: request.topic,
        class,
        channel: topic.map_or(Channel::Email, |topic| topic.channel),
        data: encode_data(&request.data),
        not_before: request.not_before,
        expires_at: request.not_before + brand.expiry(class),
        lane: lane_of(address, class),
    }
}

/// The address in a contact's attributes, if it is one.
pub(crate) fn address_in(attributes: &Properties) -> Option<EmailAddress> {
    attributes.get("email").and_then(Value::as_text)?.parse().ok()
}

/// The delivery lane of a message to an address; 0 without one.
fn lane_of(address: Option<&EmailAddress>, class: MessageClass) -> i64 {
    address.map_or(0, |address| address.lane(class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parcours_domain::{MessageId, Millis, Name, RunId, Timestamp};

    fn request() -> SendRequest {
        let name = |text: &str| text.parse::<Name>().unwrap();
        SendRequest {
            message: MessageId::v7(Timestamp::EPOCH, [1; 10]),
            run: RunId::v7(Timestamp::EPOCH, [2; 10]),
            journey: name("welcome"),
            version: 3,
            step: name("mail"),
            occurrence: 1,
            send_key: [9; 16],
            template: name("hello"),
            topic: name("news"),
            sender: None,
            not_before: Timestamp::from_millis(1_000),
            data: Properties::new(),
        }
    }

    #[test]
    fn what_is_not_published_any_more_is_recorded_and_needs_consent() {
        let message = resolve(request(), &Brand::default(), Some(&address("a@gmail.com")));
        assert_eq!(message.template_version, 0);
        assert_eq!(message.class, MessageClass::Marketing);
        assert_eq!(message.sender.as_str(), "unset");
        assert_eq!(message.expires_at, Timestamp::from_millis(1_000) + Millis::hours(24));
        assert_eq!(message.lane, address("b@googlemail.com").lane(MessageClass::Marketing));
        assert_eq!(resolve(request(), &Brand::default(), None).lane, 0);
    }

    fn address(text: &str) -> EmailAddress {
        text.parse().unwrap()
    }
}

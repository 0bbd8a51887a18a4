//! Members of an operation's input.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::kms::{EncryptionContext, KeyRef, KmsError, PageRequest, Tag, Timestamp};

/// An input that is no request.
#[derive(Debug)]
pub(super) struct InputError(pub(super) KmsError);

impl InputError {
    /// What the operation cannot be asked for.
    pub(super) fn unsupported(what: &str) -> Self {
        Self(KmsError::UnsupportedOperation { message: what.to_owned() })
    }

    /// A member that is not of its form, in AWS' words.
    pub(super) fn validation(message: String) -> Self {
        Self(KmsError::Validation { message })
    }

    /// An entry of a list that is none of those that there are.
    pub(super) fn not_among(name: &str, entry: &str, all: &[&str]) -> Self {
        Self::validation(format!(
            "1 validation error detected: Value '[{entry}]' at '{}' failed to satisfy constraint: \
             Member must satisfy constraint: [Member must satisfy enum value set: [{}]]",
            lower_camel(name),
            all.join(", ")
        ))
    }

    /// A member of another type than the operation has.
    fn serialization(message: String) -> Self {
        Self(KmsError::Serialization { message })
    }
}

/// An operation's input: a JSON object. Members that an operation does not have are ignored.
#[derive(Debug)]
pub(super) struct Input<'a>(&'a Map<String, Value>);

impl<'a> Input<'a> {
    /// Takes the input as an object.
    pub(super) fn new(value: &'a Value) -> Result<Self, InputError> {
        value.as_object().map(Self).ok_or_else(|| {
            InputError::serialization("start of structure or map expected".to_owned())
        })
    }

    /// A member; null is the same as absent.
    fn find(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A member of any type; `None` if it is missing or null.
    pub(super) fn member(&self, name: &str) -> Option<&'a Value> {
        self.find(name)
    }

    /// Whether a member is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, InputError> {
        match self.find(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(other, "String")),
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, InputError> {
        self.text(name)?.ok_or_else(|| required(name))
    }

    /// What names a key; must be there.
    pub(super) fn key(&self, name: &str) -> Result<KeyRef, InputError> {
        self.required_text(name).map(KeyRef::new)
    }

    /// What names a key.
    pub(super) fn optional_key(&self, name: &str) -> Result<Option<KeyRef>, InputError> {
        Ok(self.text(name)?.map(KeyRef::new))
    }

    /// A whole number that is not negative: no operation has a member that may be.
    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, InputError> {
        match self.find(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let whole = number.as_i64().ok_or_else(|| {
                    InputError::serialization(format!("{number} cannot be converted to Integer"))
                })?;
                if whole < 0 {
                    return Err(InputError::validation(format!(
                        "1 validation error detected: Value '{whole}' at '{}' failed to satisfy \
                         constraint: Member must have value greater than or equal to 1",
                        lower_camel(name)
                    )));
                }
                Ok(Some(u32::try_from(whole).unwrap_or(u32::MAX)))
            }
            Some(other) => Err(wrong_type(other, "Integer")),
        }
    }

    /// A switch; off unless set.
    pub(super) fn flag(&self, name: &str) -> Result<bool, InputError> {
        match self.find(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong_type(other, "Boolean")),
        }
    }

    /// Seconds since 1970, a fraction allowed.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, InputError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        let secs = value.as_f64().filter(|secs| (0.0..1e11).contains(secs));
        let secs = secs.ok_or_else(|| wrong_type(value, "Timestamp"))?;
        let millis = format!("{:.0}", secs * 1000.0).parse().unwrap_or_default();
        Ok(Some(Timestamp(millis)))
    }

    /// Bytes in base64.
    pub(super) fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, InputError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let bytes = STANDARD.decode(text).map_err(|_| {
            InputError::serialization(format!("{} is not valid base64", lower_camel(name)))
        })?;
        Ok(Some(bytes))
    }

    /// Bytes in base64 that must be there.
    pub(super) fn required_blob(&self, name: &str) -> Result<Vec<u8>, InputError> {
        self.blob(name)?.ok_or_else(|| required(name))
    }

    /// One of the values that `parse` knows.
    pub(super) fn choice<T: Copy + 'static>(
        &self,
        name: &str,
        all: &'static [T],
        spelling: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>, InputError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match all.iter().find(|value| spelling(**value) == text) {
            Some(value) => Ok(Some(*value)),
            None => {
                let set: Vec<&str> = all.iter().map(|value| spelling(*value)).collect();
                Err(InputError::validation(format!(
                    "1 validation error detected: Value '{text}' at '{}' failed to satisfy \
                     constraint: Member must satisfy enum value set: [{}]",
                    lower_camel(name),
                    set.join(", ")
                )))
            }
        }
    }

    /// An encryption context.
    pub(super) fn context(&self, name: &str) -> Result<EncryptionContext, InputError> {
        let mut context = EncryptionContext::new();
        let Some(value) = self.find(name) else { return Ok(context) };
        let map = value.as_object().ok_or_else(|| wrong_type(value, "Map"))?;
        for (key, value) in map {
            let text = value.as_str().ok_or_else(|| wrong_type(value, "String"))?;
            context.insert(key, text).map_err(|error| {
                InputError::validation(format!("{}: {error}", lower_camel(name)))
            })?;
        }
        Ok(context)
    }

    /// Tags.
    pub(super) fn tags(&self, name: &str) -> Result<Option<Vec<Tag>>, InputError> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        let tags = list.iter().map(|tag| {
            let tag = Input::new(tag)?;
            Ok(Tag {
                key: tag.required_text("TagKey")?.to_owned(),
                value: tag.required_text("TagValue")?.to_owned(),
            })
        });
        tags.collect::<Result<_, InputError>>().map(Some)
    }

    /// Texts.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, InputError> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        let texts = list
            .iter()
            .map(|text| text.as_str().map(str::to_owned).ok_or_else(|| wrong_type(text, "String")));
        texts.collect::<Result<_, _>>().map(Some)
    }

    fn list(&self, name: &str) -> Result<Option<&'a Vec<Value>>, InputError> {
        match self.find(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(wrong_type(other, "List")),
        }
    }

    /// `Limit` and `Marker`.
    pub(super) fn page(&self) -> Result<PageRequest, InputError> {
        let marker = self.text("Marker")?.map(str::to_owned);
        Ok(PageRequest { limit: self.number("Limit")?, marker })
    }
}

/// The error for a member that must be there.
pub(super) fn required(name: &str) -> InputError {
    InputError::validation(format!(
        "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must \
         not be null",
        lower_camel(name)
    ))
}

fn wrong_type(value: &Value, wanted: &str) -> InputError {
    let kind = match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "Start of list",
        Value::Object(_) => "Start of structure or map",
    };
    InputError::serialization(format!("{kind} cannot be converted to {wanted}"))
}

/// A member's name as AWS' messages spell it.
pub(super) fn lower_camel(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

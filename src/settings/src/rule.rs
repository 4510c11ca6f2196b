//! What a value may be, beyond its type.

use crate::value::{ValueType, list_items};
use std::fmt;

/// A value was refused. The text is Kafka's (`ConfigException`): it names the value, the key and what is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Invalid value {value} for configuration {name}: {reason}")]
pub struct ValueError {
    pub name: String,
    pub value: String,
    pub reason: String,
}

/// Bounds and permitted values of one setting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rule {
    Any,
    /// Whole numbers from `min` to `max`, both included.
    Between {
        min: i64,
        max: i64,
    },
    /// As `Between`, and the one value beside it (compression levels: -1 is "the codec's own default").
    BetweenOr {
        min: i64,
        max: i64,
        other: i64,
    },
    /// Powers of two from `min` to `max`, both included.
    PowerOfTwo {
        min: i64,
        max: i64,
    },
    /// Multiples of `of` from `min` to `max`, both included.
    MultipleOf {
        of: i64,
        min: i64,
        max: i64,
    },
    /// Fractions from `min` to `max`, both included.
    Fraction {
        min: f64,
        max: f64,
    },
    /// One of these words, exactly.
    OneOf(&'static [&'static str]),
    /// One of these words in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// Each item is one of these words.
    ItemsOf(&'static [&'static str]),
    /// At least one item, none of them empty.
    NonEmptyList,
    NonEmpty,
    /// `*`, nothing, or a list of `partition:broker`.
    ThrottledReplicas,
}

impl Rule {
    pub const fn at_least(min: i64) -> Self {
        Self::Between { min, max: i64::MAX }
    }

    /// Checks a text against the type, then against this rule.
    ///
    /// # Errors
    /// Says what is allowed, in Kafka's manner.
    pub fn check(&self, name: &str, value_type: ValueType, text: &str) -> Result<(), ValueError> {
        self.reason_against(value_type, text.trim())
            .map_or(Ok(()), |reason| Err(ValueError { name: name.to_owned(), value: text.to_owned(), reason }))
    }

    fn reason_against(&self, value_type: ValueType, text: &str) -> Option<String> {
        match value_type {
            ValueType::Boolean => {
                let known = text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
                (!known).then(|| "Expected value to be either true or false".to_owned())
            }
            ValueType::Int => self.whole_number(text, "INT", i64::from(i32::MIN), i64::from(i32::MAX)),
            ValueType::Short => self.whole_number(text, "SHORT", i64::from(i16::MIN), i64::from(i16::MAX)),
            ValueType::Long => self.whole_number(text, "LONG", i64::MIN, i64::MAX),
            ValueType::Double => self.fraction(text),
            ValueType::String | ValueType::Class | ValueType::Password => self.word(text),
            ValueType::List => self.list(text),
        }
    }

    fn whole_number(&self, text: &str, kind: &str, lowest: i64, highest: i64) -> Option<String> {
        let number = match text.parse::<i64>() {
            Ok(number) if (lowest..=highest).contains(&number) => number,
            _ => return Some(format!("Not a number of type {kind}")),
        };
        match *self {
            Self::Between { min, .. } if number < min => Some(format!("Value must be at least {min}")),
            Self::Between { max, .. } if number > max => Some(format!("Value must be no more than {max}")),
            Self::BetweenOr { min, max, other } if number != other && !(min..=max).contains(&number) => {
                Some(format!("Value must be between {min} and {max} or equal to {other}"))
            }
            Self::PowerOfTwo { min, max } if !(min..=max).contains(&number) || number & (number - 1) != 0 => {
                Some(format!("Value must be a power of two between {min} and {max}"))
            }
            Self::MultipleOf { of, min, max } if !(min..=max).contains(&number) || number % of != 0 => {
                Some(format!("Value must be a multiple of {of} between {min} and {max}"))
            }
            _ => None,
        }
    }

    fn fraction(&self, text: &str) -> Option<String> {
        let number = match text.parse::<f64>() {
            Ok(number) if number.is_finite() => number,
            _ => return Some("Not a number of type DOUBLE".to_owned()),
        };
        match *self {
            Self::Fraction { min, .. } if number < min => Some(format!("Value must be at least {min}")),
            Self::Fraction { max, .. } if number > max => Some(format!("Value must be no more than {max}")),
            _ => None,
        }
    }

    fn word(&self, text: &str) -> Option<String> {
        match *self {
            Self::OneOf(words) if !words.contains(&text) => Some(format!("String must be one of: {}", words.join(", "))),
            Self::OneOfAnyCase(words) if !words.iter().any(|word| word.eq_ignore_ascii_case(text)) => {
                Some(format!("String must be one of (case insensitive): {}", words.join(", ")))
            }
            Self::NonEmpty if text.is_empty() => Some("String must be non-empty".to_owned()),
            _ => None,
        }
    }

    fn list(&self, text: &str) -> Option<String> {
        let items = list_items(text);
        match *self {
            Self::ItemsOf(words) => {
                let strange = items.iter().find(|item| !words.contains(item));
                strange.map(|_| format!("String must be one of: {}", words.join(", ")))
            }
            Self::NonEmptyList if items.is_empty() || items.iter().any(|item| item.is_empty()) => {
                Some("The list must not be empty and must not have empty items".to_owned())
            }
            Self::ThrottledReplicas => {
                let fits = items.is_empty() || items == ["*"] || items.iter().all(|item| is_partition_and_broker(item));
                (!fits).then(|| {
                    "must be the literal '*' or a list of replicas in the form [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                        .to_owned()
                })
            }
            _ => None,
        }
    }
}

fn is_partition_and_broker(item: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    item.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

impl fmt::Display for Rule {
    /// The allowed values, as the settings table prints them; empty where everything of the type is allowed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Any => Ok(()),
            Self::Between { min, max: i64::MAX } => write!(f, "[{min},...]"),
            Self::Between { min, max } => write!(f, "[{min},...,{max}]"),
            Self::BetweenOr { min, max, other } => write!(f, "[{min},...,{max}] or {other}"),
            Self::PowerOfTwo { min, max } => write!(f, "powers of two in [{min},...,{max}]"),
            Self::MultipleOf { of, min, max } => write!(f, "multiples of {of} in [{min},...,{max}]"),
            Self::Fraction { min, max: f64::MAX } => write!(f, "[{min},...]"),
            Self::Fraction { min, max } => write!(f, "[{min},...,{max}]"),
            Self::OneOf(words) | Self::OneOfAnyCase(words) => write!(f, "[{}]", words.join(", ")),
            Self::ItemsOf(words) => write!(f, "any of [{}]", words.join(", ")),
            Self::NonEmptyList => f.write_str("non-empty list"),
            Self::NonEmpty => f.write_str("non-empty string"),
            Self::ThrottledReplicas => f.write_str("[partitionId]:[brokerId],[partitionId]:[brokerId],..."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_against_type_and_rule() {
        use ValueType::*;
        const WORDS: &[&str] = &["delete", "compact"];
        let table: &[(Rule, ValueType, &str, Option<&str>)] = &[
            (Rule::Any, Boolean, "True", None),
            (Rule::Any, Boolean, "maybe", Some("Expected value to be either true or false")),
            (Rule::Any, Int, "2147483648", Some("Not a number of type INT")),
            (Rule::Any, Short, "32767", None),
            (Rule::Any, Short, "32768", Some("Not a number of type SHORT")),
            (Rule::Any, Long, "abc", Some("Not a number of type LONG")),
            (Rule::Any, Long, "", Some("Not a number of type LONG")),
            (Rule::at_least(-1), Long, "-2", Some("Value must be at least -1")),
            (Rule::Between { min: 1, max: 5 }, Int, "6", Some("Value must be no more than 5")),
            (Rule::BetweenOr { min: 1, max: 9, other: -1 }, Int, "-1", None),
            (Rule::BetweenOr { min: 1, max: 9, other: -1 }, Int, "0", Some("Value must be between 1 and 9 or equal to -1")),
            (Rule::PowerOfTwo { min: 2, max: 64 }, Int, "16", None),
            (Rule::PowerOfTwo { min: 2, max: 64 }, Int, "24", Some("Value must be a power of two between 2 and 64")),
            (Rule::PowerOfTwo { min: 2, max: 64 }, Int, "128", Some("Value must be a power of two between 2 and 64")),
            (Rule::MultipleOf { of: 8, min: 16, max: 64 }, Int, "24", None),
            (Rule::MultipleOf { of: 8, min: 16, max: 64 }, Int, "8", Some("Value must be a multiple of 8 between 16 and 64")),
            (Rule::MultipleOf { of: 8, min: 16, max: 64 }, Int, "20", Some("Value must be a multiple of 8 between 16 and 64")),
            (Rule::Fraction { min: 0.0, max: 1.0 }, Double, "1.01", Some("Value must be no more than 1")),
            (Rule::Fraction { min: 0.0, max: 1.0 }, Double, "NaN", Some("Not a number of type DOUBLE")),
            (Rule::OneOf(WORDS), String, "Delete", Some("String must be one of: delete, compact")),
            (Rule::OneOfAnyCase(WORDS), String, "Delete", None),
            (Rule::ItemsOf(WORDS), List, "delete, compact", None),
            (Rule::ItemsOf(WORDS), List, "", None),
            (Rule::ItemsOf(WORDS), List, "delete,shred", Some("String must be one of: delete, compact")),
            (Rule::NonEmptyList, List, "a,,b", Some("The list must not be empty and must not have empty items")),
            (Rule::NonEmpty, String, " ", Some("String must be non-empty")),
            (Rule::ThrottledReplicas, List, "*", None),
            (Rule::ThrottledReplicas, List, "0:1,1:2", None),
        ];
        for (rule, value_type, text, reason) in table {
            let got = rule.check("k", *value_type, text).err().map(|error| error.reason);
            assert_eq!(got.as_deref(), *reason, "{rule:?} {value_type:?} {text:?}");
        }
        assert!(Rule::ThrottledReplicas.check("k", List, "0:x").is_err());
        let error = Rule::at_least(1).check("min.insync.replicas", Int, "0").unwrap_err();
        assert_eq!(error.to_string(), "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1");
    }
}

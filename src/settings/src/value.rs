//! Types of values and the text they are written in.

/// Kafka's config types; the numbers are those of DescribeConfigs (`ConfigEntry.ConfigType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum ValueType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl ValueType {
    /// The code in a DescribeConfigs response.
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// Passwords are never told to anybody.
    pub const fn is_sensitive(self) -> bool {
        matches!(self, Self::Password)
    }

    /// Kafka's lower-case word for the type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Class => "class",
            Self::Password => "password",
        }
    }
}

/// The items of a list value: split at commas, trimmed. An empty text is an empty list.
pub fn list_items(text: &str) -> Vec<&str> {
    let text = text.trim();
    if text.is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() }
}

/// One way to write a value that has been checked: trimmed, booleans in lower case, whole numbers without `+` and
/// leading zeros, lists without blanks around their commas.
pub fn canonical(value_type: ValueType, text: &str) -> String {
    let text = text.trim();
    match value_type {
        ValueType::Boolean => text.to_ascii_lowercase(),
        ValueType::Int | ValueType::Short | ValueType::Long => match text.parse::<i64>() {
            Ok(number) => number.to_string(),
            Err(_) => text.to_owned(),
        },
        ValueType::Double => match text.parse::<f64>() {
            // As Java prints a double: always with a fraction.
            Ok(number) if number.abs() < 1e7 && number.fract() == 0.0 => format!("{number:.1}"),
            Ok(number) if number.abs() < 1e7 => number.to_string(),
            // Larger ones have an exponent in Java; they stay as they were written.
            _ => text.to_owned(),
        },
        ValueType::List => list_items(text).join(","),
        ValueType::String | ValueType::Class | ValueType::Password => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts() {
        let table = [
            (ValueType::Boolean, " TRUE ", "true"),
            (ValueType::Int, " +007 ", "7"),
            (ValueType::Long, "-1", "-1"),
            (ValueType::Double, "1", "1.0"),
            (ValueType::Double, "0.50", "0.5"),
            (ValueType::List, " a , b,c ", "a,b,c"),
            (ValueType::List, " ", ""),
            (ValueType::String, " x y ", "x y"),
        ];
        for (value_type, text, expected) in table {
            assert_eq!(canonical(value_type, text), expected, "{value_type:?} {text:?}");
        }
    }
}

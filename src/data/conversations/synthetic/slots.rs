//! Slots of a pattern: where their values come from, and how they are put into sentences and JSON.

use serde_json::Number;

use super::pick;
use crate::data::conversations::{Json, evaluate};
use crate::random::Random;

/// Where the value of a slot comes from.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// `{"name": "city", "one_of": ["Oslo", "Lima"]}`; with `"or": "Name"` half of the values are made up, see [`Style`].
    OneOf(String, Vec<Json>, Option<Style>),
    /// `{"names": ["from", "factor"], "rows": [["km", 1000], ["mile", 1609.344]]}`: values that belong together.
    Rows(Vec<String>, Vec<Vec<Json>>),
    /// `{"name": "count", "from": 2, "to": 9}`: a whole number, both ends included.
    Range(String, i64, i64),
    /// `{"name": "total", "compute": "{count} * 3", "decimals": 2}`: of slots before it, rounded.
    Compute(String, String, u32),
}

/// How a value is written that is made up. From such values a model learns to repeat what it is given: what it has never seen, it
/// cannot remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `Lomira`
    Name,
    /// `lomira`
    Word,
    /// `LOMI`
    Code,
}

impl Style {
    fn new(text: &str) -> Option<Self> {
        [("Name", Style::Name), ("word", Style::Word), ("CODE", Style::Code)]
            .into_iter()
            .find_map(|(known, style)| (known == text).then_some(style))
    }

    /// Two or three syllables, of which the last may end early.
    fn draw(self, random: &mut Random) -> String {
        const SYLLABLE: [&[u8]; 2] = [b"bcdfghklmnprstvwz", b"aeiou"];
        let count = if self == Style::Code { 4 } else { 4 + random.below(3) };
        let letters = SYLLABLE.into_iter().cycle().take(count);
        let text: String = letters.map(|letters| char::from(*pick(letters, random))).collect();
        match self {
            Style::Name => text[..1].to_uppercase() + &text[1..],
            Style::Word => text,
            Style::Code => text.to_uppercase(),
        }
    }
}

/// The values of slots, by name.
pub(super) type Filled = Vec<(String, Json)>;

impl Slot {
    pub fn new(json: &Json) -> Result<Self, String> {
        let name = || match json.get("name") {
            Some(Json::String(name)) => Ok(name.clone()),
            _ => Err(format!("the slot {json} has no name")),
        };
        if let Some(values) = json.get("one_of") {
            let values = values.as_array().filter(|values| !values.is_empty());
            let values = values.ok_or_else(|| format!("`one_of` of {json} is a list of values"))?;
            let style = match json.get("or") {
                Some(style) => {
                    let known = style.as_str().and_then(Style::new);
                    Some(known.ok_or_else(|| format!("`or` of {json} is \"Name\", \"word\" or \"CODE\""))?)
                }
                None => None,
            };
            return Ok(Slot::OneOf(name()?, values.to_vec(), style));
        }
        if let (Some(Json::Array(names)), Some(Json::Array(rows))) = (json.get("names"), json.get("rows")) {
            let names: Option<Vec<_>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            let rows: Option<Vec<_>> = rows.iter().map(|row| row.as_array().map(<[Json]>::to_vec)).collect();
            return match (names, rows) {
                (Some(names), Some(rows))
                    if !rows.is_empty() && rows.iter().all(|row| row.len() == names.len()) =>
                {
                    Ok(Slot::Rows(names, rows))
                }
                _ => Err(format!("every row of {json} has a value for each of its names")),
            };
        }
        if let (Some(from), Some(to)) = (integer(json, "from"), integer(json, "to")) {
            let few = from.checked_add(1 << 31).is_some_and(|limit| from <= to && to < limit);
            return if few { Ok(Slot::Range(name()?, from, to)) } else { Err(format!("{json} is no range")) };
        }
        match json.get("compute") {
            Some(Json::String(expression)) => {
                let decimals = integer(json, "decimals").unwrap_or(0).clamp(0, 9) as u32;
                Ok(Slot::Compute(name()?, expression.clone(), decimals))
            }
            _ => Err(format!("the slot {json} has neither `one_of`, `rows`, `from` and `to`, nor `compute`")),
        }
    }

    /// Adds a value, or those of a row.
    pub fn draw(&self, values: &mut Filled, random: &mut Random) -> Result<(), String> {
        match self {
            Slot::OneOf(name, from, style) => {
                let made_up = style.filter(|_| random.below(2) == 0).map(|style| style.draw(random));
                let value = made_up.map_or_else(|| pick(from, random).clone(), |text| text.as_str().into());
                values.push((name.clone(), value));
            }
            Slot::Rows(names, rows) => {
                values.extend(names.iter().cloned().zip(pick(rows, random).iter().cloned()));
            }
            Slot::Range(name, from, to) => {
                let number = from + random.below((to - from + 1) as usize) as i64;
                values.push((name.clone(), number.into()));
            }
            Slot::Compute(name, expression, decimals) => {
                let result = evaluate(&fill_text(expression, values)?).map_err(|error| error.to_string())?;
                values.push((name.clone(), rounded(result, *decimals)));
            }
        }
        Ok(())
    }
}

fn integer(json: &Json, key: &str) -> Option<i64> {
    if let Some(Json::Number(number)) = json.get(key) { number.as_i64() } else { None }
}

/// A number with so many decimals at most: an integer if nothing is left of them.
fn rounded(number: f64, decimals: u32) -> Json {
    let factor = 10_f64.powi(decimals as i32);
    let number = (number * factor).round() / factor;
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return (number as i64).into();
    }
    Number::from_f64(number).map_or(Json::Null, Json::Number)
}

/// A text with its slots replaced by their values.
pub(super) fn fill_text(text: &str, values: &Filled) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) =
            after.split_once('}').ok_or_else(|| format!("a brace is not closed in {text:?}"))?;
        filled.push_str(before);
        match value(name, values)? {
            Json::String(text) => filled.push_str(text),
            other => filled.push_str(&other.to_string()),
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// JSON with the slots in its strings replaced. A string that is nothing but a slot becomes its value, of whatever type.
pub(super) fn fill_json(json: &Json, values: &Filled) -> Result<Json, String> {
    Ok(match json {
        Json::String(text) => match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) if !name.contains(['{', '}']) => value(name, values)?.clone(),
            _ => Json::String(fill_text(text, values)?),
        },
        Json::Array(items) => {
            Json::Array(items.iter().map(|item| fill_json(item, values)).collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let fill = |(key, json): &(String, Json)| Ok((key.clone(), fill_json(json, values)?));
            Json::Object(entries.iter().map(fill).collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn value<'a>(name: &str, values: &'a Filled) -> Result<&'a Json, String> {
    let found = values.iter().rev().find(|(known, _)| known == name);
    found.map(|(_, value)| value).ok_or_else(|| format!("there is no slot {name:?} before its use"))
}

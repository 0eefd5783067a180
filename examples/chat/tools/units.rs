//! Quantities in other units.

/// What a unit measures. Each is the factor to the first unit of its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Length(f64),
    Mass(f64),
    Volume(f64),
    Celsius,
    Fahrenheit,
}

impl Unit {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "m" => Unit::Length(1.0),
            "km" => Unit::Length(1000.0),
            "cm" => Unit::Length(0.01),
            // International ones, exact by definition.
            "mile" => Unit::Length(1609.344),
            "foot" => Unit::Length(0.3048),
            "inch" => Unit::Length(0.0254),
            "kg" => Unit::Mass(1.0),
            "g" => Unit::Mass(0.001),
            "pound" => Unit::Mass(0.453_592_37),
            "ounce" => Unit::Mass(0.453_592_37 / 16.0),
            "liter" => Unit::Volume(1.0),
            "gallon" => Unit::Volume(3.785_411_784), // of the United States
            "C" => Unit::Celsius,
            "F" => Unit::Fahrenheit,
            _ => return None,
        })
    }

    fn kind(self) -> &'static str {
        match self {
            Unit::Length(_) => "a length",
            Unit::Mass(_) => "a mass",
            Unit::Volume(_) => "a volume",
            Unit::Celsius | Unit::Fahrenheit => "a temperature",
        }
    }
}

/// A quantity in another unit.
///
/// # Errors
/// If a unit is unknown, or the two measure different things.
pub fn convert(value: f64, from: &str, to: &str) -> Result<f64, String> {
    let unit = |name: &str| Unit::of(name).ok_or_else(|| format!("unknown unit: {name}"));
    let (a, b) = (unit(from)?, unit(to)?);
    Ok(match (a, b) {
        (Unit::Length(a), Unit::Length(b))
        | (Unit::Mass(a), Unit::Mass(b))
        | (Unit::Volume(a), Unit::Volume(b)) => value * a / b,
        (Unit::Celsius, Unit::Fahrenheit) => value * 9.0 / 5.0 + 32.0,
        (Unit::Fahrenheit, Unit::Celsius) => (value - 32.0) * 5.0 / 9.0,
        _ if a == b => value,
        _ => {
            return Err(format!("{from} is {} and {to} is {}: they cannot be converted", a.kind(), b.kind()));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (value, from, to, result) in [
            (5.0, "foot", "cm", 152.4),
            (9.0, "inch", "cm", 22.86),
            (26.2, "mile", "km", 42.164_812_8),
            (150.0, "pound", "kg", 68.038_855_5),
            (8.0, "ounce", "g", 226.796_185),
            (2.0, "gallon", "liter", 7.570_823_568),
            (100.0, "C", "F", 212.0),
            (-40.0, "F", "C", -40.0),
            (3.0, "F", "F", 3.0),
        ] {
            let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
            let converted = convert(value, from, to).expect("of the same kind");
            assert!(close(converted, result), "{value} {from} are {converted} {to}");
            assert!(close(convert(converted, to, from).expect("and back"), value));
        }
        assert!(convert(1.0, "m", "C").unwrap_err().contains("m is a length and C is a temperature"));
        assert!(convert(1.0, "ell", "m").unwrap_err().contains("unknown unit: ell"));
    }
}

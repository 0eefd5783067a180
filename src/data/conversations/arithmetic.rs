//! What a pocket calculator knows.

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArithmeticError {
    /// Something that is no part of an expression.
    #[error("{expression:?} cannot be computed: {found} at character {at}, where {need} is needed")]
    Unexpected {
        /// The expression.
        expression: String,
        /// The character, from 1.
        at: usize,
        /// What stands there.
        found: String,
        /// What would be right.
        need: &'static str,
    },
    /// Parentheses or signs within each other.
    #[error("the expression is nested more than {DEEPEST} deep")]
    TooDeep,
    /// A division by zero, or a number that 64 bits cannot hold.
    #[error("the result is not a finite number: is something divided by zero?")]
    NotFinite,
}

/// How deep an expression may be nested.
const DEEPEST: usize = 64;

/// Computes an expression of numbers, `+ - * / % ^`, and parentheses. `^` binds most tightly and from the right, a sign binds
/// less tightly than it: -2^2 is -4. `%` is the remainder, with the sign of the left side.
///
/// ```
/// assert_eq!(gradus::data::evaluate("2 + 3 * (4 - 1)^2"), Ok(29.0));
/// ```
///
/// # Errors
/// The character at which the expression cannot be understood, or that the result is not finite.
pub fn evaluate(expression: &str) -> Result<f64, ArithmeticError> {
    let mut parser = Parser { expression, at: 0, depth: 0 };
    let result = parser.sum()?;
    if parser.peek().is_some() {
        return Err(parser.unexpected("an operator or the end"));
    }
    if result.is_finite() { Ok(result) } else { Err(ArithmeticError::NotFinite) }
}

struct Parser<'a> {
    expression: &'a str,
    /// The byte that is read next.
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<f64, ArithmeticError> {
        let mut total = self.product()?;
        while let Some(operator @ ('+' | '-')) = self.peek() {
            self.at += 1;
            let next = self.product()?;
            total = if operator == '+' { total + next } else { total - next };
        }
        Ok(total)
    }

    fn product(&mut self) -> Result<f64, ArithmeticError> {
        let mut total = self.signed()?;
        while let Some(operator @ ('*' | '/' | '%')) = self.peek() {
            self.at += 1;
            let next = self.signed()?;
            total = match operator {
                '*' => total * next,
                '/' => total / next,
                _ => total % next,
            };
        }
        Ok(total)
    }

    fn signed(&mut self) -> Result<f64, ArithmeticError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(ArithmeticError::TooDeep);
        }
        let result = match self.peek() {
            Some('-') => {
                self.at += 1;
                -self.signed()?
            }
            Some('+') => {
                self.at += 1;
                self.signed()?
            }
            _ => self.power()?,
        };
        self.depth -= 1;
        Ok(result)
    }

    fn power(&mut self) -> Result<f64, ArithmeticError> {
        let base = self.atom()?;
        if self.peek() != Some('^') {
            return Ok(base);
        }
        self.at += 1;
        Ok(base.powf(self.signed()?))
    }

    fn atom(&mut self) -> Result<f64, ArithmeticError> {
        if self.peek() == Some('(') {
            self.at += 1;
            let inner = self.sum()?;
            if self.peek() != Some(')') {
                return Err(self.unexpected("a closing parenthesis"));
            }
            self.at += 1;
            return Ok(inner);
        }
        self.peek();
        let rest = &self.expression[self.at..];
        let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = rest[..length].parse().map_err(|_| self.unexpected("a number"))?;
        self.at += length;
        Ok(number)
    }

    /// The next character that is no white space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.expression[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.expression[self.at..].chars().next()
    }

    fn unexpected(&mut self, need: &'static str) -> ArithmeticError {
        let found = self.peek().map_or("the end".to_owned(), |c| format!("{c:?}"));
        let at = self.expression[..self.at].chars().count() + 1;
        let expression = self.expression.chars().take(80).collect();
        ArithmeticError::Unexpected { expression, at, found, need }
    }
}

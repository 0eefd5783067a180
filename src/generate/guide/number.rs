//! Numbers between bounds, digit by digit.
//!
//! A digit may only come if some number that begins with what is there then lies between the bounds: else the text would end where
//! nothing may follow.

/// Which numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Only whole ones.
    pub integer: bool,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

/// The most digits: all such numbers are exact, or nearly so, in 64 bits.
const DIGITS: usize = 15;

/// The beginning of a number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numeral {
    negative: bool,
    /// All digits that have come, as a whole number.
    digits: u64,
    count: usize,
    /// How many of them come after the point, if there is one.
    fraction: Option<usize>,
}

impl Numeral {
    /// Adds a byte, if it can come.
    pub fn push(&mut self, byte: u8, range: &Bounds) -> bool {
        let mut next = *self;
        match byte {
            b'-' if !self.negative && self.count == 0 => next.negative = true,
            // Nothing but the point comes after a leading zero.
            b'0'..=b'9'
                if self.count < DIGITS
                    && !(self.count == 1 && self.digits == 0 && self.fraction.is_none()) =>
            {
                next.digits = 10 * self.digits + u64::from(byte - b'0');
                next.count += 1;
                next.fraction = self.fraction.map(|digits| digits + 1);
            }
            b'.' if !range.integer && self.fraction.is_none() && (1..DIGITS).contains(&self.count) => {
                next.fraction = Some(0);
            }
            _ => return false,
        }
        if !next.leads_to(range) {
            return false;
        }
        *self = next;
        true
    }

    /// Whether it is a number between the bounds.
    pub fn may_end(&self, range: &Bounds) -> bool {
        self.count > 0
            && self.fraction != Some(0)
            && (range.least..=range.most).contains(&self.signed(self.value(0)))
    }

    /// How many bytes make a number between the bounds of it, for some such number.
    pub fn bytes_left(mut self, range: &Bounds) -> usize {
        let mut count = 0;
        while !self.may_end(range) {
            let next = b"0123456789.-".iter().filter_map(|&byte| {
                let mut next = self;
                next.push(byte, range).then_some(next)
            });
            let next: Vec<Numeral> = next.collect();
            // Rather one that may end than one that leads on.
            let Some(best) = next.iter().find(|next| next.may_end(range)).or(next.first()) else {
                return usize::MAX; // no number lies between the bounds
            };
            (self, count) = (*best, count + 1);
        }
        count
    }

    /// Whether some number that begins so lies between the bounds.
    fn leads_to(&self, range: &Bounds) -> bool {
        let meets = |a: f64, b: f64| a.min(b) <= range.most && a.max(b) >= range.least;
        if self.count == 0 {
            return !self.negative || range.least <= 0.0;
        }
        if self.may_end(range) {
            return true;
        }
        let left = DIGITS - self.count;
        if let Some(fraction) = self.fraction {
            // The numbers up to the next with the same digits after the point.
            let last = self.value(0) + 10_f64.powi(-(fraction as i32)) * (1.0 - 10_f64.powi(-(left as i32)));
            return left > 0 && meets(self.signed(self.value(0)), self.signed(last));
        }
        if self.digits == 0 {
            return !range.integer && left > 0 && meets(0.0, self.signed(1.0 - 10_f64.powi(-(left as i32))));
        }
        (0..=left).any(|more| {
            let part = if range.integer || more == left { 1.0 } else { 10_f64.powi(-((left - more) as i32)) };
            let last = self.value(more) + 10_f64.powi(more as i32) - part;
            meets(self.signed(self.value(more)), self.signed(last))
        })
    }

    /// Its size, were `more` zeros to come.
    fn value(&self, more: usize) -> f64 {
        let exponent = more as i32 - self.fraction.unwrap_or(0) as i32;
        match exponent {
            0.. => self.digits as f64 * 10_f64.powi(exponent),
            _ => self.digits as f64 / 10_f64.powi(-exponent),
        }
    }

    fn signed(&self, size: f64) -> f64 {
        if self.negative { -size } else { size }
    }
}

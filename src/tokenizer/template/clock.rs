//! `strftime_now`: the day and the time, as C and Python format them.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// From a Thursday on: the first of January 1970 was one.
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Writes a time in universal time. `%Y %y %m %d %B %b %A %a %H %M %S %j %%` are known.
pub fn write(now: SystemTime, format: &str) -> Result<String, Error> {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let month_name = MONTHS[month - 1];
    let day_name = DAYS[(days % 7) as usize];
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        text.push_str(&match letters.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('H') => format!("{:02}", time / 3600),
            Some('M') => format!("{:02}", time / 60 % 60),
            Some('S') => format!("{:02}", time % 60),
            Some('j') => format!("{:03}", day_of_year(year, month, day)),
            Some('%') => "%".to_owned(),
            other => {
                let problem =
                    format!("strftime_now does not know %{}", other.map_or_else(String::new, String::from));
                return Err(Error::new(ErrorKind::InvalidOperation, problem));
            }
        });
    }
    Ok(text)
}

/// Year, month and day of the month, `days` after the first of January 1970.
fn date(days: u64) -> (u64, usize, u64) {
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    while left >= month_days(year, month) {
        left -= month_days(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

fn day_of_year(year: u64, month: usize, day: u64) -> u64 {
    (1..month).map(|month| month_days(year, month)).sum::<u64>() + day
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

fn month_days(year: u64, month: usize) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn some_days() {
        let write = |seconds, format| write(UNIX_EPOCH + Duration::from_secs(seconds), format).unwrap();
        assert_eq!(write(0, "%A %d %B %Y, %H:%M:%S, %j"), "Thursday 01 January 1970, 00:00:00, 001");
        // 2024 was a leap year: its sixtieth day is the 29th of February.
        assert_eq!(write(1_709_210_096, "%a %d %b %y %H:%M:%S %j %%"), "Thu 29 Feb 24 12:34:56 060 %");
        assert_eq!(write(1_709_210_096 + 86_400, "%Y-%m-%d"), "2024-03-01");
        assert_eq!(write(4_107_542_399, "%Y-%m-%d %j"), "2100-02-28 059");
        assert_eq!(write(4_107_542_400, "%Y-%m-%d"), "2100-03-01"); // 2100 will be none
    }

    #[test]
    fn what_is_unknown_is_an_error() {
        for format in ["%Q", "%"] {
            assert!(write(UNIX_EPOCH, format).is_err());
        }
    }
}

//! The time in some cities, from universal time and the rules of their summer time, as they are in 2025.

use std::time::{SystemTime, UNIX_EPOCH};

/// When clocks are put forward by an hour.
#[derive(Clone, Copy, Debug)]
enum Summer {
    Never,
    /// From the last Sunday of March to that of October, at one in universal time.
    Europe,
    /// From the second Sunday of March to the first of November, at two by the clock.
    America,
    /// From the first Sunday of October to that of April, at two by the clock without summer time.
    Australia,
    /// From the last Friday of April to the end of the last Thursday of October.
    Egypt,
}

/// Names, minutes ahead of universal time in winter, and the rule.
const ZONES: [(&str, i64, Summer); 39] = [
    ("UTC", 0, Summer::Never),
    ("Europe/London", 0, Summer::Europe),
    ("Europe/Dublin", 0, Summer::Europe),
    ("Europe/Lisbon", 0, Summer::Europe),
    ("Europe/Paris", 60, Summer::Europe),
    ("Europe/Berlin", 60, Summer::Europe),
    ("Europe/Madrid", 60, Summer::Europe),
    ("Europe/Rome", 60, Summer::Europe),
    ("Europe/Vienna", 60, Summer::Europe),
    ("Europe/Zurich", 60, Summer::Europe),
    ("Europe/Amsterdam", 60, Summer::Europe),
    ("Europe/Brussels", 60, Summer::Europe),
    ("Europe/Oslo", 60, Summer::Europe),
    ("Europe/Stockholm", 60, Summer::Europe),
    ("Europe/Copenhagen", 60, Summer::Europe),
    ("Europe/Prague", 60, Summer::Europe),
    ("Europe/Warsaw", 60, Summer::Europe),
    ("Europe/Helsinki", 120, Summer::Europe),
    ("Europe/Athens", 120, Summer::Europe),
    ("Europe/Istanbul", 180, Summer::Never),
    ("Africa/Cairo", 120, Summer::Egypt),
    ("Africa/Lagos", 60, Summer::Never),
    ("Africa/Johannesburg", 120, Summer::Never),
    ("Africa/Nairobi", 180, Summer::Never),
    ("Asia/Dubai", 240, Summer::Never),
    ("Asia/Kolkata", 330, Summer::Never),
    ("Asia/Bangkok", 420, Summer::Never),
    ("Asia/Shanghai", 480, Summer::Never),
    ("Asia/Singapore", 480, Summer::Never),
    ("Asia/Seoul", 540, Summer::Never),
    ("Asia/Tokyo", 540, Summer::Never),
    ("Australia/Brisbane", 600, Summer::Never),
    ("Australia/Sydney", 600, Summer::Australia),
    ("Australia/Melbourne", 600, Summer::Australia),
    ("America/New_York", -300, Summer::America),
    ("America/Chicago", -360, Summer::America),
    ("America/Denver", -420, Summer::America),
    ("America/Los_Angeles", -480, Summer::America),
    ("America/Lima", -300, Summer::Never),
];

/// What a clock shows.
#[derive(Debug, PartialEq)]
pub struct Shown {
    /// `2025-03-05`.
    pub date: String,
    /// `14:32`.
    pub time: String,
}

/// The time in a zone.
///
/// # Errors
/// If the zone is none of those that are known here.
pub fn at(zone: &str, now: SystemTime) -> Result<Shown, String> {
    let found = ZONES.iter().find(|(name, ..)| *name == zone);
    let &(_, offset, summer) = found.ok_or_else(|| format!("unknown time zone: {zone}"))?;
    let minutes = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 60) as i64;
    let local = minutes + offset + 60 * i64::from(is_summer(summer, minutes, offset));
    let (days, minute) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    let (year, month, day) = date(days);
    Ok(Shown {
        date: format!("{year}-{month:02}-{day:02}"),
        time: format!("{:02}:{:02}", minute / 60, minute % 60),
    })
}

/// Minutes of a day.
const DAY: i64 = 24 * 60;

/// Whether it is summer time so many minutes after 1970 began in universal time, where winter time is `offset` minutes ahead.
fn is_summer(rule: Summer, minutes: i64, offset: i64) -> bool {
    let (year, ..) = date((minutes + offset).div_euclid(DAY));
    match rule {
        Summer::Never => false,
        Summer::Europe => {
            let last = |month: i64, days: i64| first(SUNDAY, days_until(year, month, days - 6)) * DAY + 60;
            (last(3, 31)..last(10, 31)).contains(&minutes)
        }
        Summer::America => {
            let start = first(SUNDAY, days_until(year, 3, 8)) * DAY + 120 - offset;
            let end = first(SUNDAY, days_until(year, 11, 1)) * DAY + 60 - offset; // two by summer time
            (start..end).contains(&minutes)
        }
        Summer::Australia => {
            let change = |month| first(SUNDAY, days_until(year, month, 1)) * DAY + 120 - offset;
            !(change(4)..change(10)).contains(&minutes)
        }
        Summer::Egypt => {
            let start = first(FRIDAY, days_until(year, 4, 24)) * DAY - offset;
            let end = (first(THURSDAY, days_until(year, 10, 25)) + 1) * DAY - 60 - offset; // midnight by summer time
            (start..end).contains(&minutes)
        }
    }
}

/// Days of the week, from the first of January 1970 on.
const THURSDAY: i64 = 0;
const FRIDAY: i64 = 1;
const SUNDAY: i64 = 3;

/// The first such day of the week from a day on.
fn first(weekday: i64, days: i64) -> i64 {
    days + (weekday - days).rem_euclid(7)
}

/// Days from the first of January 1970 to a date. (The months are counted from March, so that the day that leap years have more is the
/// last of a year.)
fn days_until(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date so many days after the first of January 1970.
fn date(days: i64) -> (i64, i64, i64) {
    // No year is longer than 366 days.
    let mut year = 1970 + days.div_euclid(366);
    while days_until(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rev().find(|&month| days_until(year, month, 1) <= days).unwrap_or(1);
    (year, month, days - days_until(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a clock shows at a time of day in universal time.
    fn shown(zone: &str, (year, month, day): (i64, i64, i64), (hour, minute): (i64, i64)) -> String {
        let minutes = days_until(year, month, day) * DAY + 60 * hour + minute;
        let Shown { date, time } =
            at(zone, UNIX_EPOCH + Duration::from_secs(60 * minutes as u64)).expect("a zone");
        format!("{date} {time}")
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_088, (2024, 12, 31)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected);
            assert_eq!(days_until(expected.0, expected.1, expected.2), days);
        }
    }

    #[test]
    fn clocks_are_put_forward_and_back() {
        let day = (2025, 7, 1);
        assert_eq!(shown("UTC", day, (12, 0)), "2025-07-01 12:00");
        assert_eq!(shown("Europe/Paris", day, (12, 0)), "2025-07-01 14:00");
        assert_eq!(shown("America/New_York", day, (3, 30)), "2025-06-30 23:30");
        assert_eq!(shown("Asia/Kolkata", day, (20, 0)), "2025-07-02 01:30");
        assert_eq!(shown("Australia/Sydney", day, (12, 0)), "2025-07-01 22:00");
        // The minutes around each change of 2025.
        for (zone, day, hour, before, after) in [
            ("Europe/Berlin", (2025, 3, 30), 1, "2025-03-30 01:59", "2025-03-30 03:00"),
            ("Europe/Berlin", (2025, 10, 26), 1, "2025-10-26 02:59", "2025-10-26 02:00"),
            ("America/New_York", (2025, 3, 9), 7, "2025-03-09 01:59", "2025-03-09 03:00"),
            ("America/New_York", (2025, 11, 2), 6, "2025-11-02 01:59", "2025-11-02 01:00"),
            ("Africa/Cairo", (2025, 4, 24), 22, "2025-04-24 23:59", "2025-04-25 01:00"),
            ("Africa/Cairo", (2025, 10, 30), 21, "2025-10-30 23:59", "2025-10-30 23:00"),
            ("Australia/Sydney", (2025, 4, 5), 16, "2025-04-06 02:59", "2025-04-06 02:00"),
            ("Australia/Sydney", (2025, 10, 4), 16, "2025-10-05 01:59", "2025-10-05 03:00"),
        ] {
            assert_eq!(shown(zone, day, (hour - 1, 59)), before);
            assert_eq!(shown(zone, day, (hour, 0)), after);
        }
        assert!(at("Middle/Earth", UNIX_EPOCH).unwrap_err().contains("unknown time zone: Middle/Earth"));
    }
}

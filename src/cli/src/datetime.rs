//! Times as Kafka's tools take them: `YYYY-MM-DDTHH:mm:SS[.sss][Z|+HH:mm|+HHmm]` and ISO 8601 durations.

const MS_PER_DAY: i64 = 86_400_000;

/// Milliseconds since the Unix epoch; without a zone the time is UTC, as `Utils.getDateTime` has it.
pub fn parse_datetime(text: &str) -> Result<i64, String> {
    let bad = || format!("Unparseable date: \"{text}\": expected YYYY-MM-DDTHH:mm:SS.sss, optionally followed by Z or +HH:mm");
    let (date, rest) = text.split_once('T').ok_or_else(bad)?;
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    let numbers = |text: &str, separator: char| -> Option<Vec<i64>> { text.split(separator).map(|p| p.parse().ok()).collect() };
    let [year, month, day] = numbers(date, '-').and_then(|n| n.try_into().ok()).ok_or_else(bad)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second]: [i64; 3] = numbers(clock, ':').and_then(|n| n.try_into().ok()).ok_or_else(bad)?;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (1..=9999).contains(&year);
    if !in_range || fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let ms: i64 = format!("{fraction:0<3}")[..3].parse().map_err(|_| bad())?;
    let local = days_from_epoch(year, month, day) * MS_PER_DAY + ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    Ok(local - zone_ms(zone).ok_or_else(bad)?)
}

fn zone_ms(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None | Some(b'Z') => return (zone.len() <= 1).then_some(0),
        Some(b'+') => 1,
        _ => -1,
    };
    let digits = zone[1..].replace(':', "");
    let (hours, minutes): (i64, i64) = match digits.len() {
        2 => (digits.parse().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// Days since 1970-01-01 in the Gregorian calendar: years start in March, so that the leap day comes last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month, day, hour, minute, second and millisecond of a time, as text: `2024-02-29T12:00:00.123Z`.
pub fn format_utc(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(MS_PER_DAY), ms.rem_euclid(MS_PER_DAY));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Milliseconds of `PnDTnHnMn.nS` (`java.time.Duration.parse`).
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let bad = || format!("Text cannot be parsed to a Duration: \"{text}\": expected PnDTnHnMnS, for example P1DT2H");
    let (sign, body) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let body = body.to_ascii_uppercase();
    let body = body.strip_prefix('P').ok_or_else(bad)?;
    let (date, time) = body.split_once('T').map_or((body, None), |(d, t)| (d, Some(t)));
    let mut total: f64 = 0.0;
    let mut parts = 0;
    for (section, units) in
        [(date, &[('D', 86_400_000.0)][..]), (time.unwrap_or(""), &[('H', 3_600_000.0), ('M', 60_000.0), ('S', 1000.0)])]
    {
        let mut rest = section;
        let mut next_unit = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
            let unit = rest[end..].chars().next().ok_or_else(bad)?;
            let position = units.iter().position(|(u, _)| *u == unit).filter(|p| *p >= next_unit).ok_or_else(bad)?;
            let number: f64 = rest[..end].parse().map_err(|_| bad())?;
            total += number * units[position].1;
            next_unit = position + 1;
            parts += 1;
            rest = &rest[end + 1..];
        }
    }
    if parts == 0 || time == Some("") || !total.is_finite() || total.abs() > i64::MAX as f64 / 2.0 {
        return Err(bad());
    }
    Ok(sign * total.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datetimes_there_and_back() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000", 0),
            ("2024-02-29T12:00:00.123Z", 1_709_208_000_123),
            ("2024-02-29T12:00:00", 1_709_208_000_000),
            ("2024-02-29T13:30:00+01:30", 1_709_208_000_000),
            ("2024-02-29T10:00:00-0200", 1_709_208_000_000),
            ("1969-12-31T23:59:59.9Z", -100),
        ] {
            assert_eq!(parse_datetime(text), Ok(ms), "{text}");
        }
        assert_eq!(format_utc(1_709_208_000_123), "2024-02-29T12:00:00.123Z");
        assert_eq!(format_utc(-100), "1969-12-31T23:59:59.900Z");
        for bad in ["", "2024-02-29", "2024-13-01T00:00:00", "2024-01-01T25:00:00", "2024-01-01T00:00:00+99", "2024-01-01T00:00"] {
            assert!(parse_datetime(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("P1D", 86_400_000), ("PT1H30M", 5_400_000), ("P1DT0.5S", 86_400_500), ("-PT1M", -60_000), ("pt2s", 2000)] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for bad in ["", "P", "PT", "1D", "P1H", "PT1S1M", "P1DT"] {
            assert!(parse_duration_ms(bad).is_err(), "{bad}");
        }
    }
}

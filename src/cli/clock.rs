//! `kmsfs clock`: moves the time of a key service that was started with a test clock.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::args::{ClockCommand, EndpointArgs};
use crate::cli::endpoint::call_failure;
use crate::cli::print::Printer;
use crate::cli::values::utc;
use crate::control::report::ClockReport;
use crate::control::{Failure, Kind};
use crate::http::test_clock::ADVANCE_TARGET;
use crate::http::{CallError, Patience};

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`] if no endpoint is named, or its clock is a true one; what the endpoint answers.
pub fn run(command: &ClockCommand, printer: Printer) -> Result<(), Failure> {
    let ClockCommand::Advance { by, endpoint } = command;
    let now = advance(*by, endpoint)?;
    printer.change(&ClockReport { now, advanced: by.as_secs() }, text)
}

fn advance(by: Duration, endpoint: &EndpointArgs) -> Result<u64, Failure> {
    let url = endpoint.url().ok_or_else(|| {
        Failure::new(Kind::Usage, "which key service")
            .hint("kmsfs clock advance ... --endpoint-url URL")
    })?;
    let client = endpoint.client(&url, Patience::COMMAND)?;
    match client.call_target(ADVANCE_TARGET, &json!({"Seconds": by.as_secs()})) {
        Ok(answer) => Ok(answer.get("Now").and_then(Value::as_u64).unwrap_or_default()),
        Err(CallError::Refused { exception, .. }) if exception == "UnknownOperationException" => {
            Err(Failure::new(Kind::Usage, format!("{url} has no test clock"))
                .hint("kmsfs serve --test-clock"))
        }
        Err(error) => Err(call_failure(&error)),
    }
}

fn text(report: &ClockReport) -> String {
    format!("The time of the key service is {}.\n", utc(report.now))
}

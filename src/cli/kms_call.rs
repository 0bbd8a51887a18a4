//! `kmsfs kms`: an operation of the key service, with the verbs and JSON of `aws kms`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::args::{EndpointArgs, Global, KmsArgs, UnlockArgs};
use crate::cli::endpoint::call_failure;
use crate::cli::kms::{self, operation_and_input};
use crate::cli::kms_answer::print_answer;
use crate::cli::place::open_keys;
use crate::cli::print::Printer;
use crate::cli::progress::Watch;
use crate::cli::target::{Purpose, Target, open_session, probe};
use crate::cli::unlock::open_kms;
use crate::control::keys::{gives_up_a_key, kms_call, look, record_reason};
use crate::control::{Failure, Keys, Kind, Mount, Verb, list_mounts};
use crate::http::Patience;
use crate::kms::KeyRef;

/// Runs the command.
///
/// # Errors
/// [`Kind::Usage`] for an unknown verb or option; [`Kind::InUse`] for a key that files need; what
/// the operation answers.
pub fn run(args: &KmsArgs, global: &Global, printer: Printer) -> Result<(), Failure> {
    let call = Call::parse(args, global)?;
    if let Some(help) = help(&call.words) {
        return printer.raw(help.as_bytes());
    }
    let (operation, input) = operation_and_input(&call.words).map_err(|error| {
        Failure::new(Kind::Usage, error.to_string())
            .hint("kmsfs kms help, kmsfs kms VERB help   (verbs, and their options)")
    })?;
    let url = call.url()?;
    if let Some(reason) = &call.force_data_loss {
        confirm_loss(&operation, &input, reason, call.yes)?;
    }
    let answer = match url {
        Some(url) => {
            let client = call.endpoint.client(&url, Patience::COMMAND)?;
            client.call(&operation, &input).map_err(|error| call_failure(&error))?
        }
        None => call.carry_out(&operation, input, printer)?,
    };
    printer.raw(print_answer(&answer).as_bytes())
}

/// `kmsfs kms help` lists the verbs, `kmsfs kms VERB help` a verb's options.
fn help(words: &[String]) -> Option<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let lines: Vec<String> = match words.as_slice() {
        ["help"] => kms::verbs().collect(),
        [verb, "help"] => kms::options(verb)?,
        _ => return None,
    };
    Some(lines.join("\n") + "\n")
}

/// Our own options among those of an operation.
const OPTIONS: &[&str] = &[
    "--on",
    "--force-data-loss",
    "--endpoint-url",
    "--region",
    "--profile",
    "--kms",
    "--passfile",
    "--extpass",
    "--keyfile",
];

/// Our own flags among them. Answers are JSON anyway.
const FLAGS: &[&str] = &["--yes", "--json", "--quiet", "--no-color"];

/// Our own options taken out of the words, wherever they stand.
#[derive(Debug, Default)]
struct Call {
    on: Option<PathBuf>,
    force_data_loss: Option<String>,
    endpoint: EndpointArgs,
    unlock: UnlockArgs,
    yes: bool,
    /// Operation and its options.
    words: Vec<String>,
}

impl Call {
    fn parse(args: &KmsArgs, global: &Global) -> Result<Self, Failure> {
        let mut call = Self {
            on: args.on.clone(),
            force_data_loss: args.force_data_loss.clone(),
            endpoint: args.endpoint.clone(),
            unlock: args.unlock.clone(),
            yes: global.yes,
            words: Vec::new(),
        };
        let mut words = args.call.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            if FLAGS.contains(&word.as_str()) {
                call.yes |= word == "--yes";
                continue;
            }
            if !OPTIONS.contains(&name) {
                call.words.push(word.clone());
                continue;
            }
            let value = value
                .or_else(|| words.next().cloned())
                .ok_or_else(|| Failure::new(Kind::Usage, format!("{name} needs a value")))?;
            match name {
                "--on" => call.on = Some(value.into()),
                "--force-data-loss" => call.force_data_loss = Some(value),
                "--endpoint-url" => call.endpoint.endpoint_url = Some(value),
                "--region" => call.endpoint.region = Some(value),
                "--profile" => call.endpoint.profile = Some(value),
                "--kms" => call.unlock.kms = Some(value.into()),
                "--passfile" => call.unlock.passfile = Some(value.into()),
                "--extpass" => call.unlock.extpass = Some(value),
                _ => call.unlock.keyfile = Some(value.into()),
            }
        }
        Ok(call)
    }

    /// The endpoint that is meant, if it is one.
    fn url(&self) -> Result<Option<String>, Failure> {
        let endpoint = &self.endpoint;
        let is_elsewhere = self.on.is_some() || self.unlock.kms.is_some();
        let url = if is_elsewhere { endpoint.endpoint_url.clone() } else { endpoint.url() };
        let of_endpoint = [&endpoint.endpoint_url, &endpoint.region, &endpoint.profile];
        if is_elsewhere && of_endpoint.iter().any(|option| option.is_some()) {
            let what = "--endpoint-url, --region and --profile do not go with --on or --kms";
            return Err(Failure::new(Kind::Usage, what));
        }
        if url.is_none() && of_endpoint.iter().any(|option| option.is_some()) {
            let what = "--region and --profile are of an endpoint, and none is named";
            return Err(Failure::new(Kind::Usage, what).hint("--endpoint-url URL"));
        }
        if url.is_some() && self.force_data_loss.is_some() {
            let what = "--force-data-loss is of a volume: an endpoint knows of no files";
            return Err(Failure::new(Kind::Usage, what));
        }
        Ok(url)
    }

    fn carry_out(self, operation: &str, input: Value, printer: Printer) -> Result<Value, Failure> {
        let mut watch = Watch::new(printer)?;
        let verb = Verb::Kms {
            operation: operation.to_owned(),
            input: input.clone(),
            force_data_loss: self.force_data_loss.clone(),
        };
        let path = match (&self.on, &self.unlock.kms) {
            (Some(path), _) => path.clone(),
            (None, Some(dir)) => {
                let kms = open_kms(dir, &self.unlock, dir)?;
                return self.carry_out_alone(&kms, operation, &input);
            }
            (None, None) => only_mount()?,
        };
        if let Some(mount) = Mount::find(&path) {
            return Target::Mounted(mount).call(verb, &mut watch);
        }
        let (lower, summary) = probe(&path)?;
        let kms = open_keys(&lower, &summary, &self.unlock)?;
        // Only a deletion has to look at the files; all else works even if the key is disabled and
        // the volume cannot be opened.
        if !gives_up_a_key(operation) || self.force_data_loss.is_some() {
            return self.carry_out_alone(&*kms, operation, &input);
        }
        let session = open_session(&lower, &summary, kms, Purpose::Read)?;
        Target::Direct(Box::new(session)).call(verb, &mut watch)
    }

    /// On a key service without a volume.
    fn carry_out_alone(
        &self,
        kms: &dyn Keys,
        operation: &str,
        input: &Value,
    ) -> Result<Value, Failure> {
        if let Some(reason) = &self.force_data_loss {
            let name = input.get("KeyId").and_then(Value::as_str).unwrap_or_default();
            let key = look(kms, &KeyRef::new(name))?;
            record_reason(kms, &key.arn, reason)?;
        }
        kms_call(kms, operation, input)
    }
}

/// The mount that is meant if none is named.
pub(super) fn only_mount() -> Result<PathBuf, Failure> {
    let mut mounts = list_mounts().into_iter();
    match (mounts.next(), mounts.next()) {
        (Some(mount), None) => Ok(mount.hello.mount_point),
        (None, _) => Err(Failure::new(Kind::Usage, "which key service: no volume is mounted")
            .hint("kmsfs kms --on VOLUME, --kms DIR or --endpoint-url URL ...")),
        (Some(_), Some(_)) => {
            let what = "which key service: more than one volume is mounted";
            Err(Failure::new(Kind::Usage, what).hint("kmsfs kms --on MNT ..."))
        }
    }
}

/// A loss of data is confirmed by typing the key's name.
fn confirm_loss(operation: &str, input: &Value, reason: &str, yes: bool) -> Result<(), Failure> {
    if reason.is_empty() {
        return Err(Failure::new(Kind::Usage, "--force-data-loss needs a reason"));
    }
    if !gives_up_a_key(operation) {
        let what = format!("--force-data-loss does not go with {operation}");
        return Err(Failure::new(Kind::Usage, what));
    }
    if yes {
        return Ok(());
    }
    let key = input.get("KeyId").and_then(Value::as_str).unwrap_or_default();
    let refused = Failure::new(Kind::ConfirmationNeeded, format!("loss of data under {key}"))
        .hint("--yes confirms it");
    if !io::stdin().is_terminal() {
        return Err(refused);
    }
    let _closed = write!(io::stderr(), "Type {key} to lose what it protects: ");
    let mut typed = String::new();
    io::stdin().read_line(&mut typed).map_err(|error| Failure::io("stdin", &error))?;
    if typed.trim_end() == key { Ok(()) } else { Err(refused) }
}

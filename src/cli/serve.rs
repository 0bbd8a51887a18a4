//! `kmsfs serve`: the key service for clients of AWS KMS.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::args::ServeArgs;
use crate::cli::credentials_file::CredentialsFile;
use crate::cli::interrupt::Interrupt;
use crate::cli::print::{Printer, table};
use crate::cli::sandbox::raise_for_service;
use crate::cli::unlock::{create_kms_with, has_kms, open_kms_with};
use crate::cli::watch::Telling;
use crate::control::report::ServeReport;
use crate::control::{Failure, Kind};
use crate::http::{Listen, Server, Service, TestClock};
use crate::kms::{KmsError, KmsOptions, Regions, TimeKind};

/// How often is looked for the end.
const LOOK: Duration = Duration::from_millis(100);
/// How often what is due is carried out.
const TICK: Duration = Duration::from_secs(1);

/// Runs the command: serves until it is told to stop.
///
/// # Errors
/// [`Kind::Usage`] for an address that others can reach; those of unlocking; what the system answers.
pub fn run(args: &ServeArgs, printer: Printer) -> Result<(), Failure> {
    let listen = parse_listen(&args.listen, args.allow_remote)?;
    let dir = &args.kms;
    let test_clock = args.test_clock.then(|| TestClock::load(dir)).transpose();
    let test_clock = test_clock.map_err(|error| Failure::io("test clock", &error))?;
    // Its threads stand outside of the fence: they run the commands of the configuration.
    let (telling, options) = Telling::start(args.config.as_deref(), args.events.as_ref())?;
    let options = match &test_clock {
        None => options,
        Some(clock) => KmsOptions {
            clock: clock.clock(),
            time: TimeKind::Test,
            // Whoever moves the clock means it.
            deletion_confirm: Duration::ZERO,
            ..options
        },
    };
    let path = args.credentials.clone().unwrap_or_else(|| dir.join("credentials.toml"));
    let fence = || match args.no_sandbox {
        true => Ok(()),
        false => raise_fence(dir, &path, &listen),
    };
    let kms = match has_kms(dir) || !args.create {
        true => open_kms_with(dir, &args.unlock(), dir, options, &fence)?,
        false => create_kms_with(dir, &args.unlock(), dir, options, &fence)?,
    }
    .kms;
    let (mut file, credentials) = CredentialsFile::open(path.clone(), &kms.account())?;
    let report = |endpoint: &str| ServeReport {
        endpoint: endpoint.to_owned(),
        kms: dir.clone(),
        credentials: path.clone(),
        account: kms.account(),
        region: kms.region(),
        pid: std::process::id(),
    };
    let regions = Regions::open(kms.clone(), dir)
        .map_err(|error| Failure::new(Kind::ConfigUnreadable, error.to_string()))?;
    let mut service = Service::new(regions, credentials);
    if let Some(clock) = test_clock {
        tracing::warn!("test clock: whoever may ask can move the time; keep nothing here");
        service = service.with_test_clock(clock);
    }
    let service = Arc::new(service);
    let interrupt = Interrupt::watch()?;
    let server = Server::start(Arc::clone(&service), &listen)
        .map_err(|error| Failure::io(&args.listen, &error))?;
    printer.data(&report(server.endpoint()), text)?;
    keep(&service, &mut file, &interrupt);
    server.stop();
    let flushed = service.flush_audit().map_err(Failure::from);
    telling.finish();
    flushed
}

/// Fences the process in before it has threads; what it will need from outside is there already.
fn raise_fence(dir: &Path, credentials: &Path, listen: &Listen) -> Result<(), Failure> {
    let mut make = DirBuilder::new();
    make.recursive(true).mode(0o700).create(dir).map_err(|e| Failure::io(dir.display(), &e))?;
    let socket = match listen {
        Listen::Unix(path) => Some(path.as_path()),
        Listen::Tcp(_) => None,
    };
    raise_for_service(dir, credentials, socket).map(drop)
}

/// Carries out what is due, and lets in whom the file names, until the user wants to stop.
fn keep(service: &Service, file: &mut CredentialsFile, interrupt: &Interrupt) {
    let mut next = Instant::now();
    let mut trouble: Option<KmsError> = None;
    while !interrupt.is_set() {
        if next <= Instant::now() {
            next = Instant::now() + TICK;
            let now = service.tick().err();
            // The same trouble is logged once, not every second.
            if let Some(error) = now.as_ref().filter(|error| trouble.as_ref() != Some(*error)) {
                tracing::warn!("key service: {}: {error}", error.exception());
            }
            trouble = now;
            if let Some(credentials) = file.changed() {
                service.replace_credentials(credentials);
            }
        }
        thread::sleep(LOOK);
    }
}

/// `HOST:PORT` or `unix:PATH`.
fn parse_listen(text: &str, allow_remote: bool) -> Result<Listen, Failure> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    let address: std::net::SocketAddr = text.parse().map_err(|_| {
        Failure::new(Kind::Usage, format!("{text}: not an address"))
            .hint("--listen 127.0.0.1:8733 or --listen unix:/run/kmsfs/kms.sock")
    })?;
    if !address.ip().is_loopback() && !allow_remote {
        return Err(Failure::new(Kind::Usage, format!("{address} can be reached from elsewhere"))
            .hint("--allow-remote if a proxy in front of it speaks TLS"));
    }
    Ok(Listen::Tcp(address))
}

fn text(report: &ServeReport) -> String {
    let rows = [
        ("endpoint", report.endpoint.clone()),
        ("credentials", report.credentials.display().to_string()),
        ("account", report.account.clone()),
        ("region", report.region.clone()),
    ];
    table(&rows)
        + "next: AWS_ENDPOINT_URL_KMS=ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY from the \
           credentials, then aws kms list-keys\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_sockets_unless_said() {
        assert!(parse_listen("127.0.0.1:0", false).is_ok());
        assert!(parse_listen("[::1]:80", false).is_ok());
        assert!(parse_listen("unix:/tmp/x", false).is_ok());
        assert!(parse_listen("0.0.0.0:80", false).is_err());
        assert!(parse_listen("0.0.0.0:80", true).is_ok());
        assert!(parse_listen("localhost", false).is_err());
    }
}

//! `kmsfs kms --endpoint-url` and `kmsfs clock` against `kmsfs serve`; who is let in there.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, can_mount, wait_for};
use crate::serve::Server;
use crate::tls;

/// Who asks.
struct Caller {
    id: String,
    secret: String,
    token: Option<&'static str>,
    /// Certificate authorities in place of the system's.
    certificates: Option<PathBuf>,
}

impl Caller {
    fn root(server: &Server) -> Self {
        let part = |name: &str| server.credential(name);
        Self::new(&part("access_key_id"), &part("secret_access_key"), None)
    }

    fn new(id: &str, secret: &str, token: Option<&'static str>) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned(), token, certificates: None }
    }

    /// Runs a line of arguments at an endpoint.
    fn line(&self, url: &str, line: &str) -> Answer {
        self.line_in(&Sandbox::new(), url, line)
    }

    fn line_in(&self, sandbox: &Sandbox, url: &str, line: &str) -> Answer {
        let mut command = sandbox.command(&line.split_whitespace().collect::<Vec<_>>());
        command.env("AWS_ENDPOINT_URL_KMS", url).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", &self.id).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        if let Some(token) = self.token {
            command.env("AWS_SESSION_TOKEN", token);
        }
        if let Some(path) = &self.certificates {
            command.env("AWS_CA_BUNDLE", path);
        }
        command.output().unwrap().into()
    }

    fn ok_in(&self, sandbox: &Sandbox, line: &str) -> String {
        let answer = self.line_in(sandbox, "", line);
        assert_eq!(answer.code, 0, "kmsfs {line}: {}{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    fn json(&self, url: &str, line: &str) -> Value {
        let answer = self.line(url, line);
        assert_eq!(answer.code, 0, "kmsfs {line}: {}", answer.stderr);
        serde_json::from_str(&answer.stdout).unwrap_or(Value::Null)
    }
}

fn new_key(caller: &Caller, url: &str, options: &str) -> String {
    let made = caller.json(url, &format!("kms create-key {options}"));
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

fn key_state(caller: &Caller, url: &str, key: &str) -> Value {
    caller.json(url, &format!("kms describe-key --key-id {key}"))["KeyMetadata"]["KeyState"].clone()
}

#[test]
fn an_endpoint_is_asked_over_both_kinds_of_sockets() {
    let mut server = Server::start();
    let caller = Caller::root(&server);
    let key = new_key(&caller, &server.endpoint, "--description there");
    caller.json(
        &server.endpoint,
        &format!("kms create-alias --alias-name alias/t --target-key-id {key}"),
    );
    server.restart_with(&["--listen", "unix:socket"]);
    assert_eq!(server.endpoint, "unix:socket");
    let url = format!("unix:{}", server.dir.path().join("socket").display());
    let sealed = caller.json(&url, "kms encrypt --key-id alias/t --plaintext aGk=");
    let blob = sealed["CiphertextBlob"].as_str().unwrap();
    let opened = caller.json(&url, &format!("kms decrypt --ciphertext-blob {blob}"));
    assert_eq!(opened["Plaintext"], "aGk=");
    // Options before and behind the verb, and the Region in its own.
    let there = caller.json(
        "http://127.0.0.1:1",
        &format!("kms --endpoint-url {url} list-keys --region eu-west-1"),
    );
    assert_eq!(there["Keys"], json!([]));
}

#[test]
fn refusals_of_an_endpoint_have_their_codes() {
    let server = Server::start();
    let (caller, url) = (Caller::root(&server), server.endpoint.as_str());
    let key = new_key(&caller, url, "");
    caller
        .line(url, "kms describe-key --key-id alias/none")
        .assert_refused(43, "NotFoundException: ");
    caller.json(url, &format!("kms disable-key --key-id {key}"));
    let encrypt = format!("kms encrypt --plaintext aGk= --key-id {key}");
    caller.line(url, &encrypt).assert_refused(41, "DisabledException: ");
    caller
        .json(url, &format!("kms schedule-key-deletion --key-id {key} --pending-window-in-days 7"));
    caller.line(url, &encrypt).assert_refused(42, "KMSInvalidStateException: ");

    let stranger = Caller::new(&caller.id, "wrong", None);
    stranger.line(url, "kms list-keys").assert_refused(44, "InvalidSignatureException: ");
    let stranger = Caller::new("AKIASTRANGER", "wrong", None);
    stranger.line(url, "kms list-keys").assert_refused(44, "UnrecognizedClientException: ");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    caller
        .line(&format!("http://{nobody}"), "kms list-keys")
        .assert_refused(40, "connection refused");
    caller.line("unix:/nowhere", "kms list-keys").assert_refused(40, "no such file");
    caller.line("http://192.0.2.1", "kms list-keys").assert_refused(2, "is not this machine");
    caller.line("nonsense", "kms list-keys").assert_refused(2, "not an endpoint");
    for (line, what) in [
        (format!("kms list-keys --on x --endpoint-url {url}"), "do not go with --on"),
        (format!("kms list-keys --kms x --endpoint-url {url}"), "do not go with --on"),
        (format!("kms schedule-key-deletion --force-data-loss=x --key-id {key}"), "is of a volume"),
        ("kms list-keys --profile none".to_owned(), "no profile none"),
    ] {
        caller.line(url, &line).assert_refused(2, what);
    }
    let sandbox = Sandbox::new();
    sandbox.line("kms list-keys --region eu-west-1").assert_refused(2, "none is named");
}

/// Law: who is not proven by a certificate that the user believes is told nothing.
#[test]
fn an_endpoint_with_tls_has_to_prove_itself() {
    let server = Server::start();
    let caller = Caller::root(&server);
    let key = new_key(&caller, &server.endpoint, "");
    let alias = format!("kms create-alias --alias-name alias/vault --target-key-id {key}");
    caller.json(&server.endpoint, &alias);
    let certificate = server.dir.path().join("certificate.pem");
    let url = tls::front(&server.endpoint, &certificate);
    let bundle =
        |path: &Path| Caller { certificates: Some(path.to_owned()), ..Caller::root(&server) };
    let believer = bundle(&certificate);
    assert_eq!(believer.json(&url, "kms list-keys")["Keys"][0]["KeyId"], key.as_str());
    caller.line(&url, "kms list-keys").assert_refused(40, "certificate");
    let other_name = url.replace("localhost", "127.0.0.1");
    believer.line(&other_name, "kms list-keys").assert_refused(40, "certificate");
    let nothing = server.dir.path().join("key");
    bundle(&nothing).line(&url, "kms list-keys").assert_refused(23, "no certificates");
    bundle(Path::new("/nowhere")).line(&url, "kms list-keys").assert_refused(23, "/nowhere");

    // From behind the fence of a mount as well.
    let sandbox = Sandbox::new();
    believer.ok_in(&sandbox, &format!("init lower --kms-url {url} --key alias/vault"));
    if can_mount() {
        std::fs::create_dir(sandbox.path("mnt")).unwrap();
        believer.ok_in(&sandbox, "mount lower mnt");
        sandbox.write("mnt/plan", "secret");
        believer.ok_in(&sandbox, "umount mnt");
        assert_eq!(believer.ok_in(&sandbox, "cat lower plan"), "secret");
    }
}

/// Law: what is no key service is not taken for one.
#[test]
fn something_else_that_answers_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _request = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ncats").unwrap();
    });
    let caller = Caller::new("AKIA", "secret", None);
    caller
        .line(&url, "kms list-keys")
        .assert_refused(1, "answers 404, and not as a key service does");
    server.join().unwrap();
}

#[test]
fn a_test_clock_carries_out_what_falls_due() {
    let mut server = Server::start_with(&["--test-clock"]);
    let caller = Caller::root(&server);
    let url = server.endpoint.clone();
    let rotating = new_key(&caller, &url, "");
    caller.json(
        &url,
        &format!("kms enable-key-rotation --key-id {rotating} --rotation-period-in-days 90"),
    );
    let doomed = new_key(&caller, &url, "--region eu-west-1");
    caller.json(
        &url,
        &format!("kms schedule-key-deletion --key-id {doomed} --pending-window-in-days 7 --region eu-west-1"),
    );
    let before = caller.json(&url, "clock advance 0 --json");
    assert_eq!(before["schema"], "kmsfs.clock/1");
    let now = |report: &Value| report["now"].as_u64().unwrap();
    let moved = caller.json(&url, "clock advance 365d --json");
    assert!((now(&moved) - now(&before)).abs_diff(365 * 86_400) < 60, "{before} {moved}");
    // Each rotation at its own time, not one for all: 90, 180, 270 and 360 days.
    let rotations = caller.json(&url, &format!("kms list-key-rotations --key-id {rotating}"));
    let rotations = rotations["Rotations"].as_array().unwrap();
    assert_eq!(rotations.len(), 4, "{rotations:?}");
    caller
        .line(&url, &format!("kms describe-key --key-id {doomed} --region eu-west-1"))
        .assert_refused(43, "NotFoundException: ");
    caller.line(&url, "clock advance 2000000d").assert_refused(1, "ValidationException: ");
    // Requests go on being signed by the time outside, and the time outlives the server.
    server.restart_with(&["--test-clock"]);
    let again = caller.json(&server.endpoint, "clock advance 0 --json");
    assert!(now(&again) >= now(&moved));
    assert_eq!(key_state(&caller, &server.endpoint, &rotating), "Enabled");
}

/// Law: a year that a test has skipped cannot reach keys that somebody keeps.
#[test]
fn a_key_service_is_of_one_kind_of_time_for_good() {
    let test = Server::start_with(&["--test-clock"]);
    let real = Server::start();
    let refuse = |server: &Server, options: &[&str], what: &str| {
        let mut command = Server::command(server.dir.path());
        let output = command.args(["--listen", "127.0.0.1:0"]).args(options).output().unwrap();
        Answer::from(output).assert_refused(2, what);
    };
    refuse(&test, &[], "made for a test clock");
    refuse(&real, &["--test-clock"], "made for the real time");
    let sandbox = Sandbox::new();
    let dir = test.dir.path().display();
    sandbox
        .line(&format!("init lower --kms {dir}/kms --keyfile {dir}/key"))
        .assert_refused(2, "made for a test clock");
    sandbox
        .line(&format!("kms list-keys --kms {dir}/kms --keyfile {dir}/key"))
        .assert_refused(2, "made for a test clock");
    let caller = Caller::root(&real);
    caller.line(&real.endpoint, "clock advance 7d").assert_refused(2, "has no test clock");
}

const ROLE_POLICY: &str = r#"{"Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:role/backup"},
     "Action": ["kms:Encrypt", "kms:DescribeKey"], "Resource": "*"},
    {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "kms:*", "Resource": "*",
     "Condition": {"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::000000000000:root"}}}]}"#;

/// Law: whom the file names is let in without a restart, and a session by its role's rights.
#[test]
fn sessions_of_a_role_are_let_in_as_soon_as_the_file_names_them() {
    let server = Server::start();
    let (root, url) = (Caller::root(&server), server.endpoint.as_str());
    let policy = server.dir.path().join("policy");
    std::fs::write(&policy, ROLE_POLICY).unwrap();
    let key = new_key(&root, url, &format!("--policy file://{}", policy.display()));
    let encrypt = format!("kms encrypt --plaintext aGk= --key-id {key}");
    let session = |token| Caller::new("ASIABACKUP", "of-backup", token);
    session(Some("token-1")).line(url, &encrypt).assert_refused(44, "UnrecognizedClientException");

    let path = server.dir.path().join("kms/credentials.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (id, secret, role) in
        [("ASIABACKUP", "of-backup", "backup"), ("ASIAOTHER", "of-other", "other")]
    {
        text += &format!(
            "\n[[principal]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n\
             session_token = \"token-1\"\narn = \"arn:aws:sts::000000000000:assumed-role/{role}/nightly\"\n"
        );
    }
    std::fs::write(&path, &text).unwrap();
    wait_for("the session", || session(Some("token-1")).line(url, &encrypt).code == 0);
    session(None).line(url, &encrypt).assert_refused(44, "security token");
    session(Some("token-2")).line(url, &encrypt).assert_refused(44, "security token");
    session(Some("token-1"))
        .line(url, &format!("kms disable-key --key-id {key}"))
        .assert_refused(44, "assumed-role/backup/nightly is not authorized");
    let other = Caller::new("ASIAOTHER", "of-other", Some("token-1"));
    other.line(url, &encrypt).assert_refused(44, "AccessDeniedException");
    // A long-lived access key goes with no token.
    let odd = Caller { token: Some("token-1"), ..Caller::root(&server) };
    odd.line(url, "kms list-keys").assert_refused(44, "security token");

    // A file that does not read keeps nobody out.
    std::fs::write(&path, "[[principal]]\n").unwrap();
    rustix::process::kill_process(server.pid(), rustix::process::Signal::HUP).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(session(Some("token-1")).line(url, &encrypt).code, 0);
    let without = text.split("\n[[principal]]\naccess_key_id = \"ASIABACKUP\"").next().unwrap();
    std::fs::write(&path, without).unwrap();
    wait_for("the end of the session", || session(Some("token-1")).line(url, &encrypt).code == 44);
    assert_eq!(root.line(url, "kms list-keys").code, 0);
}

/// A key service at a unix socket, with a key behind `alias/vault`.
fn server_with_vault() -> (Server, Caller, String, String) {
    let server = Server::start_with(&["--listen", "unix:socket"]);
    let caller = Caller::root(&server);
    let url = format!("unix:{}", server.dir.path().join("socket").display());
    let key = new_key(&caller, &url, "");
    caller.json(&url, &format!("kms create-alias --alias-name alias/vault --target-key-id {key}"));
    (server, caller, url, key)
}

#[test]
fn a_volume_may_keep_its_keys_behind_an_endpoint() {
    let (mut server, caller, url, key) = server_with_vault();
    let sandbox = Sandbox::new();
    let init = format!("init lower --kms-url {url}");
    caller
        .line_in(&sandbox, "", &format!("{init} --key alias/none"))
        .assert_refused(43, "NotFoundException");
    assert!(!sandbox.path("lower").exists());
    let made = caller.ok_in(&sandbox, &format!("{init} --key alias/vault --json"));
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["kms"], url.as_str());
    assert!(made["key_arn"].as_str().unwrap().ends_with(&key));
    // No passphrase, and nothing of the key service, in the volume.
    assert!(!sandbox.path("lower/.kmsfs/keys.db").exists());
    assert!(
        sandbox.read("lower/.kmsfs/volume.toml").unwrap().contains(&format!("url = \"{url}\""))
    );
    caller.ok_in(&sandbox, "fsck lower");
    let rotated = caller.ok_in(&sandbox, "rotate lower --json");
    assert_ne!(rotated, "");

    let stranger = Caller::new("AKIASTRANGER", "wrong", None);
    stranger.line_in(&sandbox, "", "fsck lower").assert_refused(44, "UnrecognizedClientException");
    assert_eq!(server.end(), Some(0));
    caller.line_in(&sandbox, "", "fsck lower").assert_refused(40, "socket");
    // Another place wins over the one that the volume names.
    let other = Server::start();
    let moved = format!("fsck lower --kms-url {}", other.endpoint);
    Caller::root(&other).line_in(&sandbox, "", &moved).assert_refused(43, "NotFoundException");
}

/// Law: the service behind an endpoint knows what files need, by nobody's word but who told it first.
#[test]
fn an_endpoint_refuses_what_files_of_its_volumes_need() {
    if !can_mount() {
        return;
    }
    let (server, caller, url, key) = server_with_vault();
    let sandbox = Sandbox::new();
    caller.ok_in(&sandbox, &format!("init lower --kms-url {url} --key alias/vault"));
    let delete = format!("kms schedule-key-deletion --key-id {key}");
    caller.line(&url, &delete).assert_refused(31, "still needed");
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    caller.ok_in(&sandbox, "mount lower mnt");
    sandbox.write("mnt/plan", "secret");
    caller.ok_in(&sandbox, "umount mnt");
    caller.line(&url, &delete).assert_refused(31, "still needed by 1 files of 1 known volumes");

    // Another principal, who may use the key, cannot speak for the volume.
    let credentials = server.dir.path().join("kms/credentials.toml");
    let text = std::fs::read_to_string(&credentials).unwrap();
    let ann = "\n[[principal]]\naccess_key_id = \"AKIAANN\"\nsecret_access_key = \"of-ann\"\n\
               arn = \"arn:aws:iam::000000000000:user/ann\"\n";
    std::fs::write(&credentials, text + ann).unwrap();
    let ann = Caller::new("AKIAANN", "of-ann", None);
    wait_for("ann", || ann.line(&url, "kms list-keys").code == 0);
    let told = ann.line_in(&sandbox, "", "usage lower");
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(told.stderr.contains("told of by somebody else"), "{}", told.stderr);

    caller.ok_in(&sandbox, "mount lower mnt");
    std::fs::remove_file(sandbox.path("mnt/plan")).unwrap();
    caller.ok_in(&sandbox, "umount mnt");
    caller.line(&url, &delete).assert_refused(31, "still needed by 0 files of 1 known volumes");
}

#[test]
fn a_mount_asks_an_endpoint_and_waits_no_longer_than_it_must() {
    if !can_mount() {
        return;
    }
    let (mut server, caller, url, key) = server_with_vault();
    let sandbox = Sandbox::new();
    caller.ok_in(&sandbox, &format!("init lower --kms-url {url} --key alias/vault"));
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    caller.ok_in(&sandbox, "mount lower mnt");
    sandbox.write("mnt/plan", "secret");
    sandbox.write("mnt/other", "text");
    assert_eq!(sandbox.read("mnt/plan").unwrap(), "secret");

    // Rotation there, rewrap here.
    let material = || {
        let report: Value =
            serde_json::from_str(&caller.ok_in(&sandbox, "status mnt/plan --json")).unwrap();
        report["material"].as_str().unwrap().to_owned()
    };
    let before = material();
    caller.ok_in(&sandbox, "kms --on mnt rotate-key-on-demand --key-id alias/vault");
    caller.ok_in(&sandbox, "rewrap mnt");
    assert_ne!(material(), before);

    // What is disabled through the mount is shut at once, what is disabled there within a minute.
    caller.ok_in(&sandbox, "kms --on mnt disable-key --key-id alias/vault");
    let no_key = |error: std::io::Error| error.raw_os_error() == Some(libc::ENOKEY);
    assert!(sandbox.read("mnt/plan").is_err_and(no_key));
    caller.json(&url, &format!("kms enable-key --key-id {key}"));
    wait_for_a_minute(|| sandbox.read("mnt/plan").is_ok());
    caller.json(&url, &format!("kms disable-key --key-id {key}"));
    wait_for_a_minute(|| sandbox.read("mnt/plan").is_err_and(no_key));
    caller.json(&url, &format!("kms enable-key --key-id {key}"));
    wait_for_a_minute(|| sandbox.read("mnt/plan").is_ok());

    // Without the service: what is at hand is read on, all else fails soon.
    caller.ok_in(&sandbox, "umount mnt");
    caller.ok_in(&sandbox, "mount lower mnt");
    assert_eq!(sandbox.read("mnt/plan").unwrap(), "secret");
    assert_eq!(server.end(), Some(0));
    assert_eq!(sandbox.read("mnt/plan").unwrap(), "secret");
    let began = Instant::now();
    let error = sandbox.read("mnt/other").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    server.start_again(&["--listen", "unix:socket"]);
    wait_for("the service", || sandbox.read("mnt/other").is_ok_and(|text| text == "text"));
    caller.ok_in(&sandbox, "umount mnt");
}

fn wait_for_a_minute(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(75);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
}

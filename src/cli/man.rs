//! `kmsfs completions` and `kmsfs man`: both come from the clap tree.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell as Syntax;

use crate::cli::args::{Args, CompletionsArgs, ManArgs, Shell};
use crate::cli::exit::EXIT_CODES;
use crate::cli::print::Printer;
use crate::control::Failure;

/// Prints completions.
///
/// # Errors
/// If stdout does not take them.
pub fn completions(args: &CompletionsArgs, printer: Printer) -> Result<(), Failure> {
    let syntax = match args.shell {
        Shell::Bash => Syntax::Bash,
        Shell::Elvish => Syntax::Elvish,
        Shell::Fish => Syntax::Fish,
        Shell::Zsh => Syntax::Zsh,
    };
    let mut text = Vec::new();
    clap_complete::generate(syntax, &mut Args::command(), "kmsfs", &mut text);
    printer.raw(&text)
}

/// Writes `kmsfs.1` and a page per command.
///
/// # Errors
/// If the directory or a page cannot be written.
pub fn pages(args: &ManArgs, printer: Printer) -> Result<(), Failure> {
    let dir = &args.dir;
    fs::create_dir_all(dir).map_err(|error| Failure::io(dir.display(), &error))?;
    let mut root = Args::command();
    root.build();
    let mut pages = 1;
    write_page(dir, "kmsfs", &root)?;
    for command in root.get_subcommands().filter(|c| c.get_name() != "help") {
        let name = format!("kmsfs-{}", command.get_name());
        write_page(dir, &name, command)?;
        pages += 1;
    }
    printer.talk(&format!("{pages} pages in {}", dir.display()));
    Ok(())
}

fn write_page(dir: &Path, name: &str, command: &clap::Command) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    let shown = path.display();
    let failed = |error: &std::io::Error| Failure::io(shown.to_string(), error);
    let man = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text).map_err(|error| failed(&error))?;
    text.extend(exit_section().into_bytes());
    fs::write(&path, text).map_err(|error| failed(&error))
}

/// The exit codes, as a section of every page.
fn exit_section() -> String {
    let mut section = ".SH \"EXIT STATUS\"\n.TP\n0\nok\n".to_owned();
    for (kind, code) in EXIT_CODES {
        let word = serde_json::to_value(kind).ok();
        let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or_default();
        section.push_str(&format!(".TP\n{code}\n{}\n", word.replace('-', " ")));
    }
    section
}

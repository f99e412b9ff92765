//! `completions`: what a shell needs to complete our command lines.
//!
//! The script that it prints has the shell run us at each press of TAB, with the
//! words of the line and a variable that says so; [`answer`] is what we do then.
//! So there is nothing to regenerate after an upgrade, and the names of topics,
//! groups and tables are those of the moment.

mod names;

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::{Arg, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;

use crate::error::Outcome;
use names::Listed;

/// Set by the script when the shell asks.
const VARIABLE: &str = "ORDERCTL_COMPLETE";
/// What we are called.
const NAME: &str = "orderctl";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Install it, for new shells:
  bash        orderctl completions bash > ~/.local/share/bash-completion/completions/orderctl
  zsh         orderctl completions zsh > ~/.zfunc/_orderctl    (with fpath+=~/.zfunc before compinit)
  fish        orderctl completions fish > ~/.config/fish/completions/orderctl.fish
  powershell  orderctl completions powershell >> $PROFILE
  elvish      orderctl completions elvish >> ~/.config/elvish/rc.elv

Or try it in this one: source <(orderctl completions bash)

Topics, groups and tables are asked for when TAB is pressed, with the connection
flags of the line, the environment and creds.json; what does not answer within a
second is left out.")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The shells that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
            Shell::Powershell => "powershell",
            Shell::Elvish => "elvish",
        }
    }
}

/// Prints the shell's script.
///
/// # Errors
/// When it cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let shells = Shells::builtins();
    let shell = shells.completer(args.shell.name()).context("this shell is not known")?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, NAME, NAME, &program(), &mut script)?;
    match std::io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(Outcome::Done),
    }
}

/// How the shell is to run us: by name when it found us by name.
fn program() -> String {
    let typed = std::env::args_os().next().unwrap_or_default();
    let is_path = Path::new(&typed).components().count() > 1;
    let path = std::env::current_exe().ok().filter(|_| is_path);
    path.map_or_else(|| NAME.into(), |path| path.to_string_lossy().into_owned())
}

/// Answers a shell that asks; whether one did. What goes wrong is not said:
/// it would stand in the middle of the user's line.
pub fn answer(command: impl Fn() -> Command) -> bool {
    if std::env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(|| with_names(command())).var(VARIABLE);
    asked.try_complete(whole(std::env::args_os()), here.as_deref()).unwrap_or(true)
}

/// Bash makes three words of `--flag=value`. The one in the middle goes, and an
/// innocent flag comes to the front for it, because bash says by its number which
/// word is to be completed.
fn whole(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let before = words.len();
    words.retain(|word| word != "=");
    // Behind us, `--`, and how the user called us.
    let place = words.iter().position(|word| word == "--").map_or(words.len(), |at| at + 2);
    let place = place.min(words.len());
    for _ in words.len()..before {
        words.insert(place, "-v".into());
    }
    words
}

/// Has each argument that is a topic, a group or a table complete to what there
/// is; they are known by the names of their values.
fn with_names(command: Command) -> Command {
    command.mut_args(with_names_of).mut_subcommands(with_names)
}

fn with_names_of(arg: Arg) -> Arg {
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    let listed = match value {
        Some("TOPIC" | "TOPICS") => Listed::Topics,
        Some("GROUP") => Listed::Groups,
        Some("TABLE") => Listed::Tables,
        _ => return arg,
    };
    arg.add(ArgValueCompleter::new(move |typed: &OsStr| candidates(listed, typed)))
}

fn candidates(listed: Listed, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    names::names(listed, words)
        .into_iter()
        .filter(|name| name.starts_with(typed))
        // Kafka's own are not what is meant, unless one begins to write them.
        .filter(|name| !name.starts_with("__") || typed.starts_with('_'))
        .map(CompletionCandidate::new)
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_shell_is_served_by_the_library() {
        for shell in <Shell as clap::ValueEnum>::value_variants() {
            assert!(Shells::builtins().completer(shell.name()).is_some(), "{shell:?}");
        }
    }

    #[test]
    fn a_flag_and_its_value_that_bash_cut_are_joined_and_the_word_keeps_its_number() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let joined = |line: &str| whole(words(line).into_iter());
        assert_eq!(
            joined("orderctl -- orderctl consume --table = or"),
            words("orderctl -- orderctl -v consume --table or")
        );
        assert_eq!(joined("orderctl -- orderctl con"), words("orderctl -- orderctl con"));
        assert_eq!(joined("orderctl"), words("orderctl"));
    }

    #[test]
    fn topics_groups_and_tables_complete_in_every_verb_that_takes_them() {
        let command = with_names(Cli::command());
        let consume = command.find_subcommand("consume").unwrap();
        let completes = |id: &str| {
            let arg = consume.get_arguments().find(|arg| arg.get_id() == id).unwrap();
            arg.get::<ArgValueCompleter>().is_some()
        };
        assert!(["topic_name", "group", "table"].into_iter().all(completes));
        assert!(!completes("schema"));
        let notify = command.find_subcommand("notify").unwrap();
        let from = notify.get_arguments().find(|arg| arg.get_id() == "from").unwrap();
        assert!(from.get::<ArgValueCompleter>().is_some());
    }
}

//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use moneta_core::ApiUrl;

use super::amount::{TypedAmount, WithdrawAmount};

/// Stands below `moneta --help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  broken: something that should not happen; nothing was guessed
  2  usage: the command line is wrong
  3  refused: bad input, or not enough money; the same command fails again
  4  unavailable: federation, disk or wallet cannot be used now; repeating the command is safe
  5  pending: begun, but not done in time; it goes on at the next command, so do not repeat it
  130, 143  ended by Ctrl-C or SIGTERM; what was begun goes on at the next command

With --json every result is one line of JSON on standard output, and an error is
{\"error\": {\"kind\", \"message\", \"hint\"}} there. Amounts end in _msat or _sat.

First steps:
  moneta join INVITE        make a wallet and join a federation
  moneta words              show the 12 words to write down
  moneta deposit            get a Bitcoin address, wait for the coins
  moneta send 1000          hand out e-cash worth 1000 sat";

/// A wallet for e-cash of federations on Bitcoin.
#[derive(Debug, Parser)]
#[command(name = "moneta", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct CommandLine {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "For every command")]
pub struct Global {
    /// The wallet's folder [default: ~/.moneta]
    #[arg(long, global = true, env = "MONETA_WALLET", value_name = "DIR")]
    pub wallet: Option<PathBuf>,
    /// Which of the wallet's federations: its name, or the beginning of its id
    #[arg(long, global = true, value_name = "NAME|ID")]
    pub federation: Option<String>,
    /// Print results as JSON, one line each
    #[arg(long, global = true)]
    pub json: bool,
    /// Stop waiting after this time; what was begun goes on at the next command [default: 90, and no
    /// limit where a command waits for people or blocks]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

impl Global {
    /// How long a command waits whose end depends on the federation alone.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(90))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Join a federation; makes the wallet if there is none
    Join {
        /// The invite code, fed1...
        invite: String,
        /// Refuse a federation that is not on this Bitcoin network
        #[arg(long, value_name = "NETWORK")]
        network: Option<bitcoin::Network>,
    },
    /// Show the wallet's federations
    Info,
    /// Show what the wallet can spend
    Balance,
    /// Get a Bitcoin address, wait until coins sent there are e-cash
    Deposit {
        /// Print the address and end; the coins are claimed by a later command that runs
        #[arg(long)]
        no_wait: bool,
    },
    /// Hand out e-cash: prints a text that is worth the amount
    Send {
        /// How much, in sat; 1500msat is taken too. Rounded up to the smallest note of 512 msat
        amount: TypedAmount,
        /// Put an invite into the e-cash, for a receiver who does not know the federation
        #[arg(long)]
        include_invite: bool,
    },
    /// Take in e-cash
    Receive {
        /// The text that `send` printed. Without it, or with -, it is asked for or read from standard
        /// input: arguments can be seen by everybody on this machine until the e-cash is yours
        #[arg(default_value = "-")]
        ecash: String,
    },
    /// Send bitcoin out of the federation to an address
    Withdraw {
        /// Where to
        address: String,
        /// How much the address gets, in sat, or all
        amount: WithdrawAmount,
        /// Do not ask for confirmation. Needed in scripts, where nobody can be asked
        #[arg(long, short)]
        yes: bool,
    },
    /// List what was done, newest first
    History {
        /// How many at most
        #[arg(long, default_value_t = 20, value_name = "COUNT")]
        limit: usize,
    },
    /// Show one operation and everything that happened in it
    Show {
        /// Its id, or the beginning of it
        operation: String,
        /// Wait until it has ended
        #[arg(long)]
        wait: bool,
    },
    /// Show the wallet's 12 words; whoever has them has the money
    Words,
    /// Find everything that 12 words own in a federation. The words are asked for, or read from
    /// standard input
    Recover {
        /// The invite code of the federation
        invite: String,
        /// The words come from an app in a browser or on a phone that derives its keys twice
        #[arg(long)]
        doubled: bool,
    },
    /// Show what the federation says of itself
    Meta,
    /// Set up and look after a guardian
    Guardian(GuardianArgs),
}

/// `moneta guardian`.
#[derive(Debug, Args)]
pub struct GuardianArgs {
    /// Where the guardian answers.
    #[command(flatten)]
    pub target: GuardianTarget,
    /// What to do.
    #[command(subcommand)]
    pub command: GuardianCommand,
}

/// Which guardian, and how to be let in.
#[derive(Debug, Clone, Args)]
pub struct GuardianTarget {
    /// The guardian's API
    #[arg(
        long,
        global = true,
        env = "MONETA_API_URL",
        hide_env_values = true,
        default_value = "ws://127.0.0.1:8174",
        value_name = "URL"
    )]
    pub url: ApiUrl,
    /// File that holds the guardian's password; else MONETA_PASSWORD_API, else it is asked for
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// The commands for guardians.
#[derive(Debug, Subcommand)]
pub enum GuardianCommand {
    /// The setup ceremony of a new federation
    #[command(subcommand)]
    Setup(SetupCommand),
    /// Show how the guardian and its links are
    Status,
    /// Show the balance sheet: what the modules have and owe
    Audit,
    /// Save the guardian's secrets, from which it can be restored
    Backup {
        /// A new file; keep it secret
        file: PathBuf,
    },
    /// Make a guardian's data folder anew from its backup. Never run two copies of one guardian
    Restore {
        /// The backup
        file: PathBuf,
        /// An empty or new folder, for monetad --data-dir
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Tell everybody a new address of this guardian
    Announce {
        /// The new address, ws:// or wss://
        new_url: ApiUrl,
    },
    /// Have the guardian end after a session
    Shutdown {
        /// The last session; the running one if absent
        session: Option<u64>,
        /// Withdraw an earlier order
        #[arg(long, conflicts_with = "session")]
        cancel: bool,
    },
}

/// The steps of the ceremony.
#[derive(Debug, Subcommand)]
pub enum SetupCommand {
    /// Show how far the guardian is
    Status,
    /// Give the guardian its name; prints its setup code
    #[command(alias = "init")]
    SetLocalParams(LocalParamsArgs),
    /// Show the setup code, to be given to all other guardians
    Code,
    /// Add the setup codes of other guardians
    AddPeer {
        /// The codes
        #[arg(required = true)]
        codes: Vec<String>,
    },
    /// Forget the codes that were added
    Reset,
    /// Begin key generation, when all codes of all others were added; waits for its end
    Start {
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// Hold a whole ceremony for several guardians with one password, from one place
    Auto {
        /// The federation's name
        #[arg(long)]
        federation_name: String,
        /// Charge no base fees
        #[arg(long)]
        disable_base_fees: bool,
        /// All guardians, each as NAME=URL; their ids follow the order of the names
        #[arg(required = true, value_name = "NAME=URL")]
        guardians: Vec<NamedGuardian>,
    },
}

/// Parameters of `setup set-local-params`.
#[derive(Debug, Clone, Args)]
pub struct LocalParamsArgs {
    /// The guardian's name
    pub name: String,
    /// Leader only: the federation's name
    #[arg(long, requires = "federation_size")]
    pub federation_name: Option<String>,
    /// Leader only: how many guardians, 1 or 4 and more
    #[arg(long, value_name = "COUNT", requires = "federation_name")]
    pub federation_size: Option<u32>,
    /// At most one guardian: charge no base fees
    #[arg(long)]
    pub disable_base_fees: bool,
    /// At most one guardian: kinds of modules, separated by commas; all if absent
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    pub modules: Option<Vec<String>>,
}

/// `NAME=URL` of a guardian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedGuardian {
    /// Its name in the federation.
    pub name: String,
    /// Its API.
    pub url: ApiUrl,
}

impl std::str::FromStr for NamedGuardian {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text.split_once('=').ok_or("write NAME=URL")?;
        if name.is_empty() {
            return Err("the name is empty".to_owned());
        }
        let url = url.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { name: name.to_owned(), url })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;
    use moneta_core::amount::Msat;

    use super::*;

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(line.split(' '))
    }

    #[test]
    fn definition_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_behind_the_command() {
        for line in ["moneta --wallet w --json balance", "moneta balance --wallet w --json"] {
            let parsed = parse(line).unwrap();
            assert_eq!(parsed.global.wallet.as_deref(), Some("w".as_ref()));
            assert!(parsed.global.json, "{line}");
        }
        assert_eq!(parse("moneta balance").unwrap().global.patience(), Duration::from_secs(90));
    }

    #[test]
    fn amounts_are_read_on_the_command_line() {
        let Command::Send { amount, .. } = parse("moneta send 250000").unwrap().command else {
            panic!("another command");
        };
        assert_eq!(amount.0, Msat(250_000_000));
        let line = "moneta withdraw bcrt1qxyz all --yes";
        let Command::Withdraw { amount, yes, .. } = parse(line).unwrap().command else {
            panic!("another command");
        };
        assert_eq!((amount, yes), (WithdrawAmount::All, true));
        let error = parse("moneta send 0.5").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("whole number of sat"), "{error}");
    }

    #[test]
    fn setup_of_a_leader_needs_name_and_size_together() {
        let setup = "moneta guardian setup";
        assert!(parse(&format!("{setup} init Alice")).is_ok());
        assert!(parse(&format!("{setup} init Alice --federation-name F")).is_err());
        let leader = format!("{setup} set-local-params A --federation-name F --federation-size 4");
        assert!(parse(&leader).is_ok());
        let auto = format!("{setup} auto --federation-name F a=ws://h:1 b=ws://h:2");
        let Command::Guardian(GuardianArgs {
            command: GuardianCommand::Setup(SetupCommand::Auto { guardians, .. }),
            ..
        }) = parse(&auto).unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!(guardians.len(), 2);
        assert_eq!(guardians[1].name, "b");
    }

    #[test]
    fn shutdown_is_ordered_or_withdrawn_not_both() {
        assert!(parse("moneta guardian shutdown 7").is_ok());
        assert!(parse("moneta guardian shutdown --cancel").is_ok());
        assert!(parse("moneta guardian shutdown 7 --cancel").is_err());
    }

    #[test]
    fn words_and_passwords_have_no_place_on_the_command_line() {
        let secret = ["password", "words", "mnemonic", "seed"];
        fn walk(command: &clap::Command, check: &mut impl FnMut(&clap::Arg)) {
            command.get_arguments().for_each(&mut *check);
            command.get_subcommands().for_each(|sub| walk(sub, check));
        }
        walk(&CommandLine::command(), &mut |argument| {
            let name = argument.get_id().as_str();
            assert!(!secret.contains(&name), "{name}");
        });
    }
}

//! The daemon's flags and their environment variables.
//!
//! Every flag can be given as `MONETA_<NAME>`; the reference's `FM_<NAME>` is read where that one
//! is absent, so that an operator's existing service file works (docs/protocol/guardian.md,
//! appendix). What has no meaning here is accepted and named in the log.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};
use moneta_core::ApiUrl;
use url::Url;

/// A guardian of a federation.
#[derive(Parser, Clone)]
#[command(name = "monetad", version, args_override_self = true, max_term_width = 100)]
pub struct Flags {
    /// Folder of all state; made if it does not exist, readable by the owner only
    #[arg(long, env = "MONETA_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Password of admin calls; without one they all fail. Better given by the environment, since
    /// flags are seen by every user of the machine
    #[arg(long, env = "MONETA_PASSWORD_API", hide_env_values = true)]
    pub password_api: Option<String>,
    /// Bitcoin network of the federation, fixed at setup
    #[arg(long, env = "MONETA_BITCOIN_NETWORK", default_value = "regtest")]
    pub bitcoin_network: bitcoin::Network,
    /// RPC address of bitcoind
    #[arg(long, env = "MONETA_BITCOIND_URL", hide_env_values = true)]
    pub bitcoind_url: Option<Url>,
    /// RPC user of bitcoind
    #[arg(long, env = "MONETA_BITCOIND_USERNAME")]
    pub bitcoind_username: Option<String>,
    /// RPC password of bitcoind; better given by the environment or a file
    #[arg(long, env = "MONETA_BITCOIND_PASSWORD", hide_env_values = true)]
    pub bitcoind_password: Option<String>,
    /// File that holds the RPC password
    #[arg(long, env = "MONETA_BITCOIND_URL_PASSWORD_FILE")]
    pub bitcoind_url_password_file: Option<PathBuf>,
    /// bitcoind's cookie file, in place of user and password
    #[arg(long, env = "MONETA_BITCOIND_COOKIE_FILE")]
    pub bitcoind_cookie_file: Option<PathBuf>,
    /// Base address of an Esplora server, in place of bitcoind or beside it
    #[arg(long, env = "MONETA_ESPLORA_URL")]
    pub esplora_url: Option<Url>,
    /// Where other guardians are accepted
    #[arg(long, env = "MONETA_BIND_P2P", default_value = "0.0.0.0:8173")]
    pub bind_p2p: SocketAddr,
    /// Where clients and operators are answered
    #[arg(long, env = "MONETA_BIND_API", default_value = "0.0.0.0:8174")]
    pub bind_api: SocketAddr,
    /// Own address for other guardians, fedimint://host:port; needed for setup
    #[arg(long, env = "MONETA_P2P_URL")]
    pub p2p_url: Option<ApiUrl>,
    /// Own address for clients, ws:// or wss://; needed for setup
    #[arg(long, env = "MONETA_API_URL")]
    pub api_url: Option<ApiUrl>,
    /// Shared secrets of a private federation, separated by commas; the first is used for own calls
    #[arg(long, env = "MONETA_FORCE_API_SECRETS", hide_env_values = true, default_value = "")]
    pub force_api_secrets: String,
    /// After a disaster only: the session from which this guardian takes part although it does not
    /// know what its former self has said. docs/operations/guardian.md tells when that is right
    #[arg(long, env = "MONETA_TAKE_PART_FROM", value_name = "SESSION")]
    pub take_part_from: Option<u64>,
    /// Not available in this release
    #[arg(long, env = "MONETA_ENABLE_IROH", num_args = 0..=1, default_missing_value = "true",
          default_value_t = false, action = clap::ArgAction::Set)]
    pub enable_iroh: bool,
    /// Fast clocks for test worlds
    #[arg(long, env = "MONETA_TEST_PACE", hide = true, num_args = 0..=1,
          default_missing_value = "true", default_value_t = false,
          value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::Set)]
    pub test_pace: bool,
    /// Options of the reference's daemon without meaning here
    #[command(flatten)]
    pub foreign: Foreign,
}

macro_rules! foreign_options {
    ($($field:ident $variable:literal,)*) => {
        /// Options of the reference's daemon that have no meaning here.
        #[derive(clap::Args, Clone, Default)]
        pub struct Foreign {
            $(
                /// No meaning here
                #[arg(long, env = concat!("MONETA_", $variable), hide = true, num_args = 0..=1,
                      default_missing_value = "", hide_env_values = true)]
                pub $field: Option<String>,
            )*
        }

        impl Flags {
            /// The options that were given and have no meaning here.
            pub fn ignored(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.foreign.$field.is_some() { names.push($variable); })*
                names
            }
        }

        /// The names of these options, as they stand behind `FM_`.
        const FOREIGN: &[&str] = &[$($variable),*];
    };
}

foreign_options! {
    password_ui "PASSWORD_UI",
    bind_ui "BIND_UI",
    bind_metrics "BIND_METRICS",
    bind_api_next "BIND_API_NEXT",
    enable_iroh_next "ENABLE_IROH_NEXT",
    iroh_dns "IROH_DNS",
    iroh_relays "IROH_RELAY",
    iroh_p2p_relays "IROH_P2P_RELAY",
    iroh_api_max_connections "IROH_API_MAX_CONNECTIONS",
    iroh_api_max_requests_per_connection "IROH_API_MAX_REQUESTS_PER_CONNECTION",
    db_checkpoint_retention "DB_CHECKPOINT_RETENTION",
    session_timeout_secs "SESSION_TIMEOUT_SECS",
    p2p_max_connection_age_secs "P2P_MAX_CONNECTION_AGE_SECS",
    bind_tokio_console "BIND_TOKIO_CONSOLE",
}

/// Flags whose reference variable is named as ours behind the prefix.
const SHARED: &[&str] = &[
    "DATA_DIR",
    "PASSWORD_API",
    "BITCOIN_NETWORK",
    "BITCOIND_URL",
    "BITCOIND_USERNAME",
    "BITCOIND_PASSWORD",
    "BITCOIND_URL_PASSWORD_FILE",
    "ESPLORA_URL",
    "BIND_P2P",
    "BIND_API",
    "P2P_URL",
    "API_URL",
    "FORCE_API_SECRETS",
    "ENABLE_IROH",
];

impl Flags {
    /// Reads the command line and the environment; ends the process with help or an error.
    pub fn read() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::parse_with(std::env::args_os(), variable).unwrap_or_else(|error| error.exit())
    }

    /// As [`Flags::read`], from given arguments and variables.
    pub fn parse_with(
        arguments: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        let mut arguments = arguments.into_iter();
        let mut all: Vec<OsString> = arguments.next().into_iter().collect();
        for name in SHARED.iter().chain(FOREIGN) {
            if variable(&format!("MONETA_{name}")).is_some() {
                continue;
            }
            if let Some(value) = variable(&format!("FM_{name}")) {
                let mut argument = OsString::from(format!("--{}=", flag_of(name)));
                argument.push(value);
                all.push(argument);
            }
        }
        let told = |name: &str| variable(name).is_some_and(|value| value != "0");
        if variable("MONETA_TEST_PACE").is_none() && told("FM_IN_DEVIMINT") {
            all.push("--test-pace=true".into());
        }
        all.extend(arguments);
        let matches = Self::command().try_get_matches_from(all)?;
        Self::from_arg_matches(&matches)
    }

    /// The shared secrets of a private federation.
    pub fn api_secrets(&self) -> Vec<String> {
        let secrets = self.force_api_secrets.split(',').map(str::trim);
        secrets.filter(|secret| !secret.is_empty()).map(str::to_owned).collect()
    }
}

fn flag_of(variable: &str) -> String {
    match variable {
        "IROH_RELAY" => "iroh-relays".to_owned(),
        "IROH_P2P_RELAY" => "iroh-p2p-relays".to_owned(),
        name => name.to_ascii_lowercase().replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Flags, clap::Error> {
        let arguments = arguments.iter().map(OsString::from);
        Flags::parse_with(arguments, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn service_file_of_the_reference_works() {
        let variables = [
            ("FM_DATA_DIR", "/data"),
            ("FM_BITCOIN_NETWORK", "signet"),
            ("FM_BIND_API", "127.0.0.1:1"),
            ("FM_ENABLE_IROH", "false"),
            ("FM_BIND_UI", "127.0.0.1:2"),
            ("FM_API_URL", "wss://guardian.example.com/ws/"),
        ];
        let flags = parse(&["monetad"], &variables).expect("a service file of the reference");
        assert_eq!(flags.data_dir, PathBuf::from("/data"));
        assert_eq!(flags.bitcoin_network, bitcoin::Network::Signet);
        assert_eq!(flags.bind_api.port(), 1);
        assert!(!flags.enable_iroh);
        assert_eq!(flags.ignored(), ["BIND_UI"]);
    }

    #[test]
    fn flag_wins_over_the_reference_variable() {
        let flags = parse(&["monetad", "--data-dir", "/mine"], &[("FM_DATA_DIR", "/theirs")])
            .expect("both are given");
        assert_eq!(flags.data_dir, PathBuf::from("/mine"));
    }

    #[test]
    fn wrong_network_is_refused() {
        assert!(parse(&["monetad", "--data-dir", "/d", "--bitcoin-network", "moon"], &[]).is_err());
    }

    #[test]
    fn secrets_are_separated_by_commas() {
        let flags = parse(&["monetad", "--data-dir", "/d"], &[("FM_FORCE_API_SECRETS", "a, b,,")])
            .expect("secrets");
        assert_eq!(flags.api_secrets(), ["a", "b"]);
    }
}

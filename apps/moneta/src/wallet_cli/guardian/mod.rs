//! `moneta guardian`: for the operators of guardians. Needs no wallet.

mod admin;
mod announce;
mod audit;
mod backup;
mod setup;
mod shutdown;
mod status;

use super::args::{GuardianArgs, GuardianCommand};
use super::context::Context;
use super::failure::Failure;
use admin::Admin;

/// Runs the command.
pub(super) async fn run(context: &Context, args: GuardianArgs) -> Result<(), Failure> {
    let GuardianArgs { target, command } = args;
    let admin = Admin::new(context, target);
    match command {
        GuardianCommand::Setup(command) => setup::run(&admin, command).await,
        GuardianCommand::Status => status::run(&admin).await,
        GuardianCommand::Audit => audit::run(&admin).await,
        GuardianCommand::Backup { file } => backup::save(&admin, &file).await,
        GuardianCommand::Restore { file, data_dir } => {
            backup::restore(context, &file, &data_dir).await
        }
        GuardianCommand::Announce { new_url } => announce::run(&admin, new_url).await,
        GuardianCommand::Shutdown { session, cancel } => {
            shutdown::run(&admin, session, cancel).await
        }
    }
}

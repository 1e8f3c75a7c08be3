//! What the commands say to the e-cash module.

use moneta_client::online::Client;
use moneta_core::amount::Msat;
use moneta_core::id::{ModuleInstanceId, OperationId};
use moneta_core::invite::InviteCode;
use moneta_mint::client::{MintClient, MintTurn, ReceiveError, SendError, SendProgress};
use moneta_mint::words::{ECash, KIND as MINT};
use moneta_module::client::End;

use super::context::settled;
use super::failure::Failure;

/// The federation's e-cash module.
///
/// Errors: it has none this program can use.
pub fn mint(client: &Client) -> Result<ModuleInstanceId, Failure> {
    client.find_module(&MINT).ok_or_else(|| {
        Failure::refused("the federation has no e-cash module that this wallet can use")
            .hint("a newer release of the wallet may be able to; `moneta info` lists the modules")
    })
}

/// Reads e-cash that a person or script handed over.
pub fn parse_ecash(text: &str) -> Result<ECash, Failure> {
    let text: String = text.split_whitespace().collect();
    text.parse().map_err(|error| {
        Failure::refused(error)
            .hint("ask the sender for the whole text again; it begins with \"fedimint\"")
    })
}

/// Reads an invite code.
pub fn parse_invite(text: &str) -> Result<InviteCode, Failure> {
    let text: String = text.split_whitespace().collect();
    text.parse().map_err(|error| {
        Failure::refused(error).hint(
            "a code is one long word that begins with fed1; ask for it again if part is missing",
        )
    })
}

/// Hands out e-cash worth `amount`, which the federation may have to make first.
pub async fn send(
    client: &Client,
    amount: Msat,
    invite: Option<InviteCode>,
) -> Result<(OperationId, ECash), Failure> {
    let instance = mint(client)?;
    let act = move |mint: &MintClient, turn: &mut MintTurn<'_>| mint.send(turn, amount, invite);
    let operation = match client.act(instance, act).await? {
        SendProgress::Ready { operation, ecash } => return Ok((operation, ecash)),
        SendProgress::Pending { operation } => operation,
    };
    match settled(client, operation).await?.end {
        End::Succeeded => match sent(client, instance, operation).await? {
            Some(ecash) => Ok((operation, ecash)),
            None => Err(Failure::broken("the e-cash was made but is not in the wallet")),
        },
        End::Failed => Err(Failure::refused("the federation refused to make the e-cash")
            .hint("nothing was spent; try again")),
    }
}

/// E-cash that an operation handed out.
pub async fn sent(
    client: &Client,
    instance: ModuleInstanceId,
    operation: OperationId,
) -> Result<Option<ECash>, Failure> {
    let read = client
        .with_driver(move |driver| {
            let mint = driver.module::<MintClient>(instance)?;
            Some(mint.sent(&driver.module_view(instance), operation))
        })
        .await;
    Ok(read.transpose()?.flatten())
}

/// Takes in e-cash; returns the operation. The same e-cash gives the same one again.
///
/// Errors: `Refused` also when it was received to the end before.
pub async fn begin_receive(client: &Client, ecash: &ECash) -> Result<OperationId, Failure> {
    let instance = mint(client)?;
    let ecash = ecash.clone();
    let act = move |mint: &MintClient, turn: &mut MintTurn<'_>| {
        match mint.receive(turn, &ecash) {
            // Waited for as if it had begun now, unless it has ended.
            Err(ReceiveError::AlreadyReceived(id)) => Ok((id, true)),
            other => other.map(|id| (id, false)),
        }
    };
    let (operation, again) = client.act(instance, act).await?;
    if again {
        let known = client.operation(operation).await?;
        if known.is_some_and(|(operation, _)| operation.end.is_some()) {
            return Err(Failure::refused("this wallet received that e-cash before")
                .hint(format!("`moneta show {operation}` tells when and what came of it")));
        }
    }
    Ok(operation)
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Submit(error) => error.into(),
            other => Self::refused(other).hint("take another amount"),
        }
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        let message = error.to_string();
        let hint = match error {
            ReceiveError::Submit(error) => return error.into(),
            ReceiveError::WrongFederation { .. } => {
                "choose the federation it belongs to with --federation, or join it first"
            }
            ReceiveError::Forged { .. } | ReceiveError::Duplicate(_) => {
                "do not accept it as a payment: ask the sender for good e-cash"
            }
            ReceiveError::Uneconomical => {
                "it is worth less than the federation's fee; ask for a larger amount"
            }
            _ => "ask the sender for the whole text again",
        };
        Self::refused(message).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::Kind;
    use super::*;

    #[test]
    fn corrupted_ecash_and_invites_are_refused_with_advice() {
        let failures = [
            parse_ecash("fedimint!!!").map(drop),
            parse_ecash("").map(drop),
            parse_invite("fed11qgqz").map(drop),
            parse_invite("hello").map(drop),
        ];
        for failure in failures {
            let failure = failure.expect_err("refused");
            assert_eq!(failure.kind, Kind::Refused);
            assert!(failure.hint.is_some(), "{failure}");
        }
    }

    #[test]
    fn forged_ecash_is_refused_with_a_warning() {
        let failure = Failure::from(ReceiveError::Forged { count: 2 });
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.hint.is_some_and(|hint| hint.contains("do not accept")));
    }
}

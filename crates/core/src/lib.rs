//! The words of the protocol: encoding, ids, amounts, transactions, sessions, configs, invites, admin views.

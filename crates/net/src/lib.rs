//! Connectors, guardian links, JSON-RPC server and client, chain sources.

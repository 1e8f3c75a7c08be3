//! A guardian: setup ceremony, the pure engine, and the node that runs it.

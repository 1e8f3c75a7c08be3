//! What a crash at the end of the ceremony leaves behind.

use std::time::Duration;

use super::restored::short_sessions;
use super::world::{Place, World};

/// The seed of all secrets lay in `setup.json` for good if the machine stopped between the last file of
/// the configuration and the removal of this one.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_the_ceremony_are_gone_after_the_next_start() {
    let story = async {
        let mut world = World::alone(Place(11), short_sessions()).await;
        world.stop(0).await;
        let state = world.dir(0).join("setup.json");
        let folder = world.dir(0).join("keygen");
        std::fs::write(&state, b"{}").unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("shares-1"), b"secret").unwrap();
        world.start(0);
        world.is_up(0).await;
        assert!(!state.exists() && !folder.exists());
        world.end().await;
    };
    tokio::time::timeout(Duration::from_secs(60), story).await.unwrap();
}

//! How often a user's sound or picture began in a room, whoever carries it.

use std::collections::HashMap;
use std::sync::Mutex;

use roomtape_media::Kind;

type Key = (Box<str>, Box<str>, Kind);

/// Shared by all sources of media.
#[derive(Debug, Default)]
pub struct Lives(Mutex<HashMap<Key, u32>>);

impl Lives {
    /// The number of the life that begins now, from 1.
    pub fn next(&self, room: &str, user: &str, kind: Kind) -> u32 {
        let mut lives = match self.0.lock() {
            Ok(lives) => lives,
            Err(poisoned) => poisoned.into_inner(), // the map is whole after every line here
        };
        let life = lives.entry((room.into(), user.into(), kind)).or_insert(0);
        *life += 1;
        *life
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sound_and_picture_counts_for_itself() {
        let lives = Lives::default();
        assert_eq!(lives.next("1/s/a", "u", Kind::Audio), 1);
        assert_eq!(lives.next("1/s/a", "u", Kind::Audio), 2);
        assert_eq!(lives.next("1/s/a", "u", Kind::Video), 1);
    }
}

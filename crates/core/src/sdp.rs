//! What an offer asks for, read before str0m sees it.
//!
//! Payload types of the answer are exactly those of the offer: the codec table of a peer is built
//! from its own offer, so that every H.264 profile a client can name is matched by itself.
//! What is not spoken here (other codecs, more than one layer) is left out or inactive in the answer.

use std::fmt::Write as _;

use str0m::format::{Codec, CodecConfig, FormatParams};
use str0m::media::{Frequency, MediaKind};

/// Which way media is to flow, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The client sends.
    Publish,
    /// The client receives.
    Play,
}

/// A codec line of an offer that this server can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedCodec {
    pub codec: Codec,
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), if offered.
    pub rtx: Option<u8>,
    /// H.264: `profile-level-id`, 0x42000a when the offer does not say (RFC 6184 section 8.1).
    pub profile_level_id: u32,
    /// H.264: `packetization-mode` is 1.
    pub non_interleaved: bool,
}

/// One media section (m-line) of an offer.
#[derive(Clone, Debug)]
pub struct Section {
    pub kind: Option<MediaKind>,
    pub mid: String,
    pub codecs: Vec<OfferedCodec>,
    /// The direction allows what the role wants.
    pub usable: bool,
    head: String,
    lines: Vec<String>,
}

/// An offer, split at its m-lines.
#[derive(Clone, Debug)]
pub struct Offer {
    session: Vec<String>,
    pub sections: Vec<Section>,
    pub role: Role,
}

/// Why an offer cannot be used, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// Not an SDP offer of WebRTC.
    Bad(String),
    /// No codec in common.
    NoCodec(String),
}

/// More is no honest offer; browsers send 4 to 10 KB.
const MAX_OFFER_BYTES: usize = 256 * 1024;
const MAX_SECTIONS: usize = 32;
/// A payload type has seven bits (RFC 3550 section 5.1); each is looked up in all lines of its section.
const MAX_PAYLOAD_TYPES: usize = 128;

impl Offer {
    /// Reads an offer. H.264 is preferred: a publisher's VP8 is kept only if no H.264 is usable.
    pub fn parse(sdp: &str, role: Role) -> Result<Offer, OfferError> {
        if sdp.len() > MAX_OFFER_BYTES {
            return Err(OfferError::Bad("the offer is too long".into()));
        }
        let lines: Vec<&str> = sdp
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        if lines.first() != Some(&"v=0") {
            return Err(OfferError::Bad(
                "the body is not SDP: it does not begin with v=0".into(),
            ));
        }
        let mut session = Vec::new();
        let mut sections: Vec<(String, Vec<String>)> = Vec::new();
        for line in lines {
            if line.starts_with("m=") {
                sections.push((line.to_owned(), Vec::new()));
            } else if let Some((_, body)) = sections.last_mut() {
                body.push(line.to_owned());
            } else {
                session.push(line.to_owned());
            }
        }
        if sections.is_empty() || sections.len() > MAX_SECTIONS {
            return Err(OfferError::Bad(format!(
                "{} m-lines in the offer",
                sections.len()
            )));
        }
        const BEFORE_PAYLOAD_TYPES: usize = 3; // media, port, protocol
        for (head, _) in &sections {
            if head.split_ascii_whitespace().count() > BEFORE_PAYLOAD_TYPES + MAX_PAYLOAD_TYPES {
                return Err(OfferError::Bad(
                    "an m-line names more payload types than there are".into(),
                ));
            }
        }
        let session_direction = direction_of(&session).unwrap_or("sendrecv").to_owned();
        let sections: Vec<Section> = sections
            .into_iter()
            .map(|(head, lines)| Section::parse(head, lines, role, &session_direction))
            .collect();
        let offer = Offer {
            session,
            sections,
            role,
        };
        if !offer
            .sections
            .iter()
            .any(|s| s.usable && !s.codecs.is_empty())
        {
            let wanted = match role {
                Role::Publish => "a sending section with H.264, VP8 or Opus",
                Role::Play => "a receiving section with H.264, VP8 or Opus",
            };
            return Err(OfferError::NoCodec(format!("the offer has no {wanted}")));
        }
        Ok(offer)
    }

    /// The codec table for this peer: the offer's own payload types.
    pub fn codec_config(&self) -> CodecConfig {
        let mut config = CodecConfig::empty();
        let mut taken = [false; 128];
        let mut claim = |payload_type: u8| {
            !std::mem::replace(&mut taken[usize::from(payload_type & 0x7f)], true)
        };
        for codec in self
            .sections
            .iter()
            .filter(|s| s.usable)
            .flat_map(|s| &s.codecs)
        {
            if !claim(codec.payload_type) {
                continue; // the same codec again, in another section of the bundle
            }
            let rtx = codec.rtx.filter(|rtx| claim(*rtx)).map(Into::into);
            let payload_type = codec.payload_type.into();
            match codec.codec {
                Codec::H264 => config.add_h264(
                    payload_type,
                    rtx,
                    codec.non_interleaved,
                    codec.profile_level_id,
                ),
                Codec::Vp8 => config.add_config(
                    payload_type,
                    rtx,
                    Codec::Vp8,
                    Frequency::NINETY_KHZ,
                    None,
                    FormatParams::default(),
                ),
                _ => config.add_config(
                    payload_type,
                    None,
                    Codec::Opus,
                    Frequency::FORTY_EIGHT_KHZ,
                    Some(2),
                    FormatParams {
                        min_p_time: Some(10),
                        use_inband_fec: Some(true),
                        ..Default::default()
                    },
                ),
            }
        }
        config
    }

    /// The offer as str0m shall read it: one direction, and of a simulcast the best layer only.
    pub fn to_sdp(&self) -> String {
        let mut text = String::new();
        let mut line = |l: &str| {
            let _ = write!(text, "{l}\r\n");
        };
        for l in self.session.iter().filter(|l| !is_direction(l)) {
            line(l);
        }
        for section in &self.sections {
            line(&section.head);
            let best = best_layer(&section.lines);
            for l in section.lines.iter().filter(|l| !is_direction(l)) {
                match (is_simulcast(l), &best) {
                    (false, _) => line(l),
                    (true, Some(rid)) if l.starts_with("a=simulcast:") => {
                        line(&format!("a=simulcast:send {rid}"));
                    }
                    (true, Some(rid)) if l.split([':', ' ']).nth(1) == Some(rid) => line(l),
                    _ => {} // a layer that is not taken
                }
            }
            if section.kind.is_some() {
                line(match (section.usable, self.role) {
                    (false, _) => "a=inactive",
                    (true, Role::Publish) => "a=sendonly",
                    (true, Role::Play) => "a=recvonly",
                });
            }
        }
        text
    }

    /// The same offer with other ICE credentials: an ICE restart (RFC 9725 section 4.3.2).
    pub fn with_credentials(&self, ufrag: &str, password: &str) -> Offer {
        let swap = |lines: &[String]| -> Vec<String> {
            lines
                .iter()
                .filter(|l| !l.starts_with("a=candidate:") && !l.starts_with("a=end-of-candidates"))
                .map(|l| {
                    if l.starts_with("a=ice-ufrag:") {
                        format!("a=ice-ufrag:{ufrag}")
                    } else if l.starts_with("a=ice-pwd:") {
                        format!("a=ice-pwd:{password}")
                    } else {
                        l.clone()
                    }
                })
                .collect()
        };
        let mut offer = self.clone();
        offer.session = swap(&self.session);
        for section in &mut offer.sections {
            section.lines = swap(&section.lines);
        }
        offer
    }

    /// (ufrag, password) of the client.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        let all = || {
            self.session
                .iter()
                .chain(self.sections.iter().flat_map(|s| &s.lines))
        };
        let find = |key: &str| all().find_map(|l| l.strip_prefix(key));
        Some((find("a=ice-ufrag:")?, find("a=ice-pwd:")?))
    }
}

impl Section {
    fn parse(head: String, lines: Vec<String>, role: Role, session_direction: &str) -> Section {
        let mut words = head[2..].split_whitespace();
        let kind = match words.next() {
            Some("audio") => Some(MediaKind::Audio),
            Some("video") => Some(MediaKind::Video),
            _ => None,
        };
        let direction = direction_of(&lines).unwrap_or(session_direction);
        let usable = kind.is_some()
            && match role {
                Role::Publish => matches!(direction, "sendonly" | "sendrecv"),
                Role::Play => matches!(direction, "recvonly" | "sendrecv"),
            };
        let mid = lines
            .iter()
            .find_map(|l| l.strip_prefix("a=mid:"))
            .unwrap_or_default()
            .to_owned();
        let mut codecs = kind
            .map(|k| codecs_of(&head, &lines, k))
            .unwrap_or_default();
        if role == Role::Publish && codecs.iter().any(|c| c.codec == Codec::H264) {
            codecs.retain(|c| c.codec == Codec::H264);
        }
        Section {
            kind,
            mid,
            codecs,
            usable,
            head,
            lines,
        }
    }
}

fn is_direction(line: &str) -> bool {
    matches!(
        line,
        "a=sendonly" | "a=recvonly" | "a=sendrecv" | "a=inactive"
    )
}

fn is_simulcast(line: &str) -> bool {
    line.starts_with("a=simulcast:") || line.starts_with("a=rid:")
}

/// The layer to take of a simulcast. No attribute says which is the largest; by habit they are named
/// q, h, f (quarter, half, full) or l, m, h, and otherwise listed from small to large.
fn best_layer(lines: &[String]) -> Option<String> {
    let sent = lines
        .iter()
        .find_map(|l| l.strip_prefix("a=simulcast:send "))?;
    let rids: Vec<&str> = sent
        .split_whitespace()
        .next()?
        .split(';')
        .filter_map(|alternatives| alternatives.split(',').next())
        .map(|rid| rid.trim_start_matches('~'))
        .collect();
    let named = ["f", "h"].into_iter().find(|name| rids.contains(name));
    named.or(rids.last().copied()).map(str::to_owned)
}

fn direction_of(lines: &[String]) -> Option<&str> {
    lines.iter().find(|l| is_direction(l)).map(|l| &l[2..])
}

/// The usable codecs of a section in the offer's order of preference.
fn codecs_of(head: &str, lines: &[String], kind: MediaKind) -> Vec<OfferedCodec> {
    let attribute = |name: &str, payload_type: u8| {
        let prefix = format!("a={name}:{payload_type} ");
        lines.iter().find_map(|l| l.strip_prefix(&prefix))
    };
    let payload_types: Vec<u8> = head
        .split_whitespace()
        .skip(3)
        .filter_map(|t| t.parse().ok())
        .filter(|t| *t < 128)
        .collect();
    let parameter = |payload_type: u8, key: &str| -> Option<&str> {
        attribute("fmtp", payload_type)?
            .split(';')
            .filter_map(|p| p.trim().split_once('='))
            .find(|(k, _)| k.eq_ignore_ascii_case(key))
            .map(|(_, v)| v.trim())
    };
    let rtx_of = |payload_type: u8| {
        payload_types.iter().copied().find(|rtx| {
            attribute("rtpmap", *rtx).is_some_and(|m| m.to_ascii_lowercase().starts_with("rtx/"))
                && parameter(*rtx, "apt").and_then(|a| a.parse().ok()) == Some(payload_type)
        })
    };
    let mut codecs = Vec::new();
    for payload_type in payload_types.iter().copied() {
        let Some(map) = attribute("rtpmap", payload_type) else {
            continue;
        };
        let map = map.to_ascii_lowercase();
        let codec = match (kind, map.trim()) {
            (MediaKind::Video, "h264/90000") => Codec::H264,
            (MediaKind::Video, "vp8/90000") => Codec::Vp8,
            (MediaKind::Audio, "opus/48000/2") => Codec::Opus,
            _ => continue,
        };
        codecs.push(OfferedCodec {
            codec,
            payload_type,
            rtx: rtx_of(payload_type),
            profile_level_id: parameter(payload_type, "profile-level-id")
                .and_then(|p| u32::from_str_radix(p, 16).ok())
                .unwrap_or(0x42_00_0a),
            non_interleaved: parameter(payload_type, "packetization-mode") == Some("1"),
        });
    }
    codecs
}

/// A fragment of a PATCH request (RFC 8840): credentials if it restarts ICE, and candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    pub ufrag: Option<String>,
    pub password: Option<String>,
    /// Without the leading `a=`.
    pub candidates: Vec<String>,
}

impl Fragment {
    /// Reads `application/trickle-ice-sdpfrag`; lines it does not know are ignored.
    pub fn parse(text: &str) -> Fragment {
        let mut fragment = Fragment::default();
        for line in text.lines().map(str::trim) {
            if let Some(ufrag) = line.strip_prefix("a=ice-ufrag:") {
                fragment.ufrag.get_or_insert_with(|| ufrag.to_owned());
            } else if let Some(password) = line.strip_prefix("a=ice-pwd:") {
                fragment.password.get_or_insert_with(|| password.to_owned());
            } else if let Some(candidate) = line.strip_prefix("a=candidate:") {
                fragment.candidates.push(format!("candidate:{candidate}"));
            }
        }
        fragment
    }
}

/// The ICE lines of an answer, as the fragment that answers a restart.
pub fn fragment_of_answer(answer: &str) -> String {
    let mut text = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for line in answer.lines().map(str::trim) {
        let wanted = line == "a=ice-lite"
            || line.starts_with("a=ice-ufrag:")
            || line.starts_with("a=ice-pwd:")
            || line.starts_with("a=candidate:")
            || line == "a=end-of-candidates";
        if wanted && !seen.contains(&line) {
            seen.push(line);
            let _ = write!(text, "{line}\r\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103\r\na=mid:1\r\na=sendrecv\r\n\
        a=rid:l send\r\na=simulcast:send l\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
        a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=640c1f\r\n\
        a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n";

    #[test]
    fn h264_displaces_vp8_of_a_publisher_but_not_of_a_viewer() {
        let publish = Offer::parse(OFFER, Role::Publish).unwrap();
        assert_eq!(
            publish.sections[0].codecs,
            [OfferedCodec {
                codec: Codec::H264,
                payload_type: 102,
                rtx: Some(103),
                profile_level_id: 0x640c1f,
                non_interleaved: true,
            }]
        );
        let play = Offer::parse(OFFER, Role::Play).unwrap();
        assert_eq!(play.sections[0].codecs.len(), 2);
    }

    #[test]
    fn the_best_layer_and_one_direction_are_left() {
        let three = OFFER
            .replace(
                "a=rid:l send",
                "a=rid:l send\r\na=rid:m send\r\na=rid:h send",
            )
            .replace("send l\r\n", "send l;~m;h\r\n");
        let text = Offer::parse(&three, Role::Publish).unwrap().to_sdp();
        assert!(text.contains("a=simulcast:send h\r\n") && text.contains("a=rid:h send"));
        assert!(!text.contains("a=rid:l") && !text.contains("a=rid:m"));
        assert!(text.contains("a=sendonly") && !text.contains("a=sendrecv"));
    }

    #[test]
    fn what_is_no_offer_is_refused_in_words() {
        assert!(matches!(
            Offer::parse("hello", Role::Play),
            Err(OfferError::Bad(_))
        ));
        assert!(matches!(
            Offer::parse("v=0\r\n", Role::Play),
            Err(OfferError::Bad(_))
        ));
        let many = OFFER.replace(
            "m=video 9 UDP/TLS/RTP/SAVPF",
            &format!("m=video 9 UDP/TLS/RTP/SAVPF{}", " 96".repeat(200)),
        );
        assert_ne!(many, OFFER);
        assert!(matches!(
            Offer::parse(&many, Role::Publish),
            Err(OfferError::Bad(_))
        ));
        let no_codec = OFFER.replace("VP8", "VP9").replace("H264", "H265");
        assert!(matches!(
            Offer::parse(&no_codec, Role::Publish),
            Err(OfferError::NoCodec(_))
        ));
    }

    #[test]
    fn a_fragment_gives_credentials_and_candidates() {
        let fragment = Fragment::parse(
            "a=ice-ufrag:abcd\r\na=ice-pwd:secretsecretsecretsecret\r\nm=audio 9 RTP/AVP 0\r\n\
             a=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n",
        );
        assert_eq!(fragment.ufrag.as_deref(), Some("abcd"));
        assert_eq!(
            fragment.candidates,
            ["candidate:1 1 udp 1 127.0.0.1 9 typ host"]
        );
    }
}

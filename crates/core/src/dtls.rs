//! DTLS that also believes a P-224 certificate.
//!
//! FFmpeg's WHIP muxer, when linked with GnuTLS, makes a P-224 certificate by default. The DTLS
//! library below str0m verifies P-256 and P-384 only and fails the handshake. Its list of
//! primitives is public, so the one that verifies a signature is wrapped here: what the library
//! knows goes to the library, ECDSA over P-224 is checked with the crate `p224`.
//! Trust does not come from the curve but from the fingerprint in the SDP, as for every peer.

use std::sync::Arc;
use std::time::Instant;

use dimpl::crypto::{HashAlgorithm, SignatureAlgorithm, SignatureVerifier};
use dimpl::CryptoError as PrimitiveError;
use p224::ecdsa::signature::hazmat::PrehashVerifier;
use p224::ecdsa::{Signature, VerifyingKey};
use str0m_proto::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion,
};
use str0m_proto::crypto::{CryptoError, CryptoProvider, DtlsVersion};

/// The crypto of every peer: aws-lc-rs, and P-224 signatures on top.
pub fn crypto_provider() -> CryptoProvider {
    static DTLS: P224Dtls = P224Dtls;
    let mut provider = str0m_aws_lc_rs::default_provider();
    provider.dtls_provider = &DTLS;
    provider
}

#[derive(Debug)]
struct P224Dtls;

impl DtlsProvider for P224Dtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m_aws_lc_rs::default_provider()
            .dtls_provider
            .generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        static VERIFIER: P224Verifier = P224Verifier;
        let mut primitives = str0m_aws_lc_rs::dimpl_crypto_provider();
        primitives.signature_verification = &VERIFIER;
        // ICE has proved the return route before DTLS begins, so a cookie would prove nothing more.
        let mut builder = dimpl::Config::builder()
            .with_crypto_provider(primitives)
            .use_server_cookie(false);
        if let Some(mtu) = mtu {
            builder = builder.mtu(mtu);
        }
        let config = builder
            .build()
            .map_err(|e| CryptoError::Other(format!("DTLS configuration: {e}")))?;
        let cert = dimpl::DtlsCertificate {
            certificate: cert.certificate.clone(),
            private_key: cert.private_key.clone(),
        };
        let config = Arc::new(config);
        let dtls = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, cert, now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert, now),
            _ => dimpl::Dtls::new_auto(config, cert, now),
        };
        Ok(Box::new(Instance(dtls)))
    }
}

struct Instance(dimpl::Dtls);

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dtls")
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buf)
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }
    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }
    fn is_active(&self) -> bool {
        self.0.is_active()
    }
    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }
    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

#[derive(Debug)]
struct P224Verifier;

impl SignatureVerifier for P224Verifier {
    fn verify_signature(
        &self,
        cert_der: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), PrimitiveError> {
        let library = str0m_aws_lc_rs::dimpl_crypto_provider();
        let key = match p224_key(cert_der) {
            Some(key) if algorithm == SignatureAlgorithm::ECDSA => key,
            _ => {
                return library
                    .signature_verification
                    .verify_signature(cert_der, data, signature, hash, algorithm)
            }
        };
        let mut hasher = library.hash_provider.create_hash(hash);
        hasher.update(data);
        let mut digest = dimpl::crypto::Buf::new();
        hasher.clone_and_finalize(&mut digest);
        let signature =
            Signature::from_der(signature).map_err(|_| PrimitiveError::CertificateParseFailed)?;
        // The leftmost 224 bits of the digest count (FIPS 186-4, 6.4): p224 cuts them itself.
        key.verify_prehash(&digest, &signature)
            .map_err(|_| PrimitiveError::CertificateParseFailed)
    }
}

/// The public key of a certificate, if its curve is P-224.
///
/// A SubjectPublicKeyInfo of this curve has one DER encoding of its head: the two object
/// identifiers ecPublicKey (1.2.840.10045.2.1) and secp224r1 (1.3.132.0.33), then a bit string of
/// an uncompressed point (57 bytes). Source: RFC 5480 sections 2.1.1 and 2.2.
fn p224_key(cert_der: &[u8]) -> Option<VerifyingKey> {
    const HEAD: [u8; 21] = [
        0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
        0x04, 0x00, 0x21, 0x03, 0x3a, 0x00,
    ];
    const POINT_BYTES: usize = 57;
    let at = cert_der.windows(HEAD.len()).position(|w| w == HEAD)? + HEAD.len();
    VerifyingKey::from_sec1_bytes(cert_der.get(at..at + POINT_BYTES)?).ok()
}

//! Certificates that no provider would hand out, and servers that misbehave.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use native_tls::{Identity, TlsAcceptor};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// A CA of its own, with a certificate for 127.0.0.1, in a directory of its
/// own.
pub struct Stranger {
    folder: TempDir,
    identity: Identity,
}

impl Stranger {
    /// With a certificate that is good until 4096, or only to the end of 2020.
    pub fn new(is_expired: bool) -> Stranger {
        let folder = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "a stranger's CA");
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        leaf.not_before = date_time_ymd(2019, 1, 1);
        leaf.not_after = date_time_ymd(if is_expired { 2020 } else { 4096 }, 12, 31);
        let pem = leaf.signed_by(&key, &issuer).unwrap().pem();
        let identity = Identity::from_pkcs8(pem.as_bytes(), key.serialize_pem().as_bytes());
        for (name, text) in
            [("ca.pem", ca_pem), ("service.cert", pem), ("service.key", key.serialize_pem())]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        Stranger { folder, identity: identity.unwrap() }
    }

    /// A file of its directory: ca.pem, service.cert or service.key.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a server needs to speak TLS with this certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::new(self.identity.clone()).unwrap()
    }

    /// A server that speaks TLS with this certificate, after `SSLRequest` as
    /// PostgreSQL has it or at once as Kafka has it.
    pub fn serve(&self, is_postgres: bool) -> SocketAddr {
        let acceptor = self.acceptor();
        serve(move |mut stream| {
            if is_postgres {
                let mut request = [0; 8];
                let _ = stream.read_exact(&mut request);
                let _ = stream.write_all(b"S");
            }
            // The client breaks off: that is what the test is about.
            let _ = acceptor.accept(stream);
        })
    }
}

/// A PostgreSQL without TLS.
pub fn without_tls() -> SocketAddr {
    serve(|mut stream| {
        let mut request = [0; 8];
        let _ = stream.read_exact(&mut request);
        let _ = stream.write_all(b"N");
        // Until the client has gone.
        let _ = stream.read(&mut request);
    })
}

/// A server that takes connections and never says a word.
pub fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// An address where nobody listens.
pub fn closed() -> SocketAddr {
    silent().local_addr().unwrap()
}

fn serve(answer: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    address
}

//! What managed providers ask for, where a failed check may come from that.

use super::finding::Check;

/// Who runs a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Aiven.
    Aiven,
    /// Confluent Cloud.
    Confluent,
    /// Redpanda Cloud.
    Redpanda,
    /// Amazon MSK.
    Msk,
    /// Amazon MSK Serverless, which knows IAM logins only.
    MskServerless,
    /// Azure Event Hubs.
    EventHubs,
}

/// Ends of host names, and whose they are.
const SUFFIXES: [(&str, Provider); 7] = [
    (".aivencloud.com", Provider::Aiven),
    (".confluent.cloud", Provider::Confluent),
    (".cloud.redpanda.com", Provider::Redpanda),
    (".servicebus.windows.net", Provider::EventHubs),
    (".servicebus.chinacloudapi.cn", Provider::EventHubs),
    (".servicebus.usgovcloudapi.net", Provider::EventHubs),
    (".servicebus.cloudapi.de", Provider::EventHubs),
];

/// What an Amazon MSK host has in its name, before the region.
const MSK_PARTS: [(&str, Provider); 2] =
    [(".kafka-serverless.", Provider::MskServerless), (".kafka.", Provider::Msk)];

impl Provider {
    /// Who runs a host, where its name tells.
    pub fn of_host(host: &str) -> Option<Provider> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn") {
            return MSK_PARTS.iter().find(|(part, _)| host.contains(part)).map(|(_, who)| *who);
        }
        SUFFIXES.iter().find(|(suffix, _)| host.ends_with(suffix)).map(|(_, who)| *who)
    }

    /// What the provider asks for that may explain a failed check.
    pub fn hint(self, service: &str, check: Check) -> Option<&'static str> {
        match service {
            "kafka" => self.kafka_hint(check),
            "postgres" => self.postgres_hint(check),
            _ => None,
        }
    }

    fn kafka_hint(self, check: Check) -> Option<&'static str> {
        match check {
            Check::Dns | Check::Tcp => Some(self.network()),
            Check::Tls => Some(self.encryption()),
            Check::Login | Check::Cluster => Some(self.login()),
            Check::Topic | Check::Group => Some(self.rights()),
            _ => None,
        }
    }

    fn postgres_hint(self, check: Check) -> Option<&'static str> {
        match (self, check) {
            (Provider::Aiven, Check::Dns | Check::Tcp) => Some(self.network()),
            (Provider::Aiven, Check::Tls) => Some(
                "Aiven signs with a CA of the project: download ca.pem from the service's \
                 overview, and use sslmode=verify-full",
            ),
            (Provider::Aiven, Check::Login) => Some(
                "Aiven's user is avnadmin and its database defaultdb, unless others were created; \
                 the whole URI is in the service's overview",
            ),
            _ => None,
        }
    }

    fn network(self) -> &'static str {
        match self {
            Provider::Aiven => {
                "Aiven has a port of its own for each service and way to log in (client \
                 certificate, SASL): copy host and port from the service's overview; a powered-off \
                 service has no host name, and allowed IP addresses keep others out"
            }
            Provider::Confluent => {
                "Confluent Cloud listens on port 9092 of the bootstrap server in the cluster's \
                 settings; clusters with private networking are reached from their network only"
            }
            Provider::Redpanda => {
                "Redpanda Cloud's bootstrap server and port (9092) are in the cluster's overview \
                 under \"Kafka API\"; private clusters are reached from their network only"
            }
            Provider::Msk => {
                "MSK listens on 9094 (TLS) and 9096 (SASL/SCRAM) inside its VPC, on 9194 and 9196 \
                 with public access (9098 and 9198 are for IAM): open the port in the cluster's \
                 security group"
            }
            Provider::MskServerless => Self::SERVERLESS,
            Provider::EventHubs => {
                "Event Hubs speaks Kafka on port 9093 of NAMESPACE.servicebus.windows.net, from \
                 the Standard tier on; check the namespace's firewall too"
            }
        }
    }

    fn encryption(self) -> &'static str {
        match self {
            Provider::Aiven => {
                "Aiven signs with a CA of the project: download ca.pem of this very project, and \
                 with client certificates service.key and service.cert too, from the service's \
                 overview; the port for client certificates and the one for SASL differ"
            }
            Provider::Confluent | Provider::EventHubs | Provider::Redpanda => {
                "its certificates are signed by public authorities: leave ca.pem out of the \
                 certificate directory, and set --security-protocol SASL_SSL"
            }
            Provider::Msk => {
                "MSK's certificates are signed by Amazon's public authority: leave ca.pem out of \
                 the certificate directory; 9092 is plaintext, 9094 and 9194 TLS, 9096 and 9196 \
                 SASL_SSL"
            }
            Provider::MskServerless => Self::SERVERLESS,
        }
    }

    fn login(self) -> &'static str {
        match self {
            Provider::Aiven => {
                "Aiven lets client certificates in on one port and SASL (SCRAM-SHA-256, user \
                 avnadmin) on another, when switched on: copy host, port and user of one way"
            }
            Provider::Confluent => {
                "Confluent Cloud wants --security-protocol SASL_SSL --sasl-mechanism PLAIN, an API \
                 key of this cluster as --sasl-username and its secret as the password"
            }
            Provider::Redpanda => {
                "Redpanda Cloud wants --security-protocol SASL_SSL --sasl-mechanism SCRAM-SHA-256 \
                 and a user made under Security"
            }
            Provider::Msk => {
                "MSK wants SASL_SSL with --sasl-mechanism SCRAM-SHA-512 on 9096 (public: 9196), \
                 the user from a secret named AmazonMSK_… that is associated with the cluster, or \
                 a client certificate on 9094 (9194); IAM logins (9098, 9198) are not supported"
            }
            Provider::MskServerless => Self::SERVERLESS,
            Provider::EventHubs => {
                "Event Hubs wants --security-protocol SASL_SSL --sasl-mechanism PLAIN, the user \
                 $ConnectionString (these very characters) and as the password the whole \
                 connection string, Endpoint=sb://…"
            }
        }
    }

    fn rights(self) -> &'static str {
        match self {
            Provider::Aiven => {
                "create topics and grant ACLs in Aiven's console; clients create none unless \
                 kafka.auto_create_topics_enable is on"
            }
            Provider::Confluent => {
                "grant the API key's service account READ and WRITE on the topic, and READ on the \
                 group (ACLs, or the roles DeveloperRead and DeveloperWrite)"
            }
            Provider::Redpanda => {
                "a new user of Redpanda Cloud has no rights: add ACLs for topic and group"
            }
            Provider::Msk => {
                "MSK lets SASL users do nothing until ACLs allow it, when \
                 allow.everyone.if.no.acl.found is false"
            }
            Provider::MskServerless => Self::SERVERLESS,
            Provider::EventHubs => {
                "a topic is an event hub: create it in the namespace; the connection string's \
                 policy needs Listen to read and Send to write, or Manage"
            }
        }
    }

    const SERVERLESS: &'static str = "MSK Serverless lets only IAM logins in, which are not supported: use a provisioned \
         cluster with SASL/SCRAM or client certificates";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_known_by_the_end_of_the_name() {
        for (host, provider) in [
            ("kafka-1-project.a.aivencloud.com", Some(Provider::Aiven)),
            ("pkc-abc.us-east-1.aws.confluent.cloud", Some(Provider::Confluent)),
            ("PKC-ABC.eu.GCP.CONFLUENT.CLOUD.", Some(Provider::Confluent)),
            ("seed-1.abc.fmc.prd.cloud.redpanda.com", Some(Provider::Redpanda)),
            ("b-1.demo.abc.c2.kafka.us-east-1.amazonaws.com", Some(Provider::Msk)),
            ("b-1.demo.abc.c2.kafka.cn-north-1.amazonaws.com.cn", Some(Provider::Msk)),
            ("boot-x.c1.kafka-serverless.us-east-1.amazonaws.com", Some(Provider::MskServerless)),
            ("orders.servicebus.windows.net", Some(Provider::EventHubs)),
            ("db.cluster.us-east-1.rds.amazonaws.com", None),
            ("notaivencloud.com", None),
            ("aivencloud.com.example", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(Provider::of_host(host), provider, "{host}");
        }
    }

    #[test]
    fn each_provider_names_its_own_ports_and_logins() {
        for (provider, check, words) in [
            (Provider::EventHubs, Check::Tcp, "9093"),
            (Provider::EventHubs, Check::Login, "$ConnectionString"),
            (Provider::Msk, Check::Tcp, "9096"),
            (Provider::Msk, Check::Login, "SCRAM-SHA-512"),
            (Provider::MskServerless, Check::Login, "IAM"),
            (Provider::Confluent, Check::Login, "API key"),
            (Provider::Aiven, Check::Tls, "ca.pem"),
            (Provider::Redpanda, Check::Login, "SCRAM-SHA-256"),
        ] {
            let hint = provider.hint("kafka", check).unwrap();
            assert!(hint.contains(words), "{provider:?} {check:?}: {hint}");
        }
        assert!(Provider::Aiven.hint("postgres", Check::Tls).unwrap().contains("ca.pem"));
        assert_eq!(Provider::Msk.hint("postgres", Check::Tls), None);
        assert_eq!(Provider::Aiven.hint("kafka", Check::Clock), None);
    }
}

//! How a verb ends, and the exit code that says so.

/// How a verb ended when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything asked for was done: exit 0.
    Done,
    /// Finished, but some records were rejected and are dead letters: exit 3.
    Rejected,
    /// SIGINT or SIGTERM ended it early; what was done is done: exit 130.
    Interrupted,
}

/// A failure that comes from how the program was called: exit 2.
///
/// The text says what is wrong and what to type instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A service that no flag, variable or file names.
///
/// The text says how to name it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unnamed(pub String);

/// The exit code of a verb's result: 0 done, 1 failed, 2 usage, 3 some records
/// rejected, 130 interrupted.
pub fn exit_code(result: &anyhow::Result<Outcome>) -> u8 {
    match result {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Rejected) => 3,
        Ok(Outcome::Interrupted) => 130,
        Err(error) if error.is::<Usage>() => 2,
        Err(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_its_exit_code() {
        assert_eq!(exit_code(&Ok(Outcome::Done)), 0);
        assert_eq!(exit_code(&Ok(Outcome::Rejected)), 3);
        assert_eq!(exit_code(&Ok(Outcome::Interrupted)), 130);
        assert_eq!(exit_code(&Err(anyhow::anyhow!("broken"))), 1);
        assert_eq!(exit_code(&Err(Usage("--num 0".into()).into())), 2);
    }
}

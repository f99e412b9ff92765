//! Local services, real ones and the in-process broker: product and test
//! harness at once.

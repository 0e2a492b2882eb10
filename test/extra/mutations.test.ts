/** The mutation test of test/fuzz with 100,000 mutations. */
process.env.MAILREPORTD_MUTATIONS = "100000";
await import("../fuzz/mutations.test.ts");

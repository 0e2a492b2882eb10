import { archiveContract } from "./contract.ts";
import { SqliteArchive } from "./sqlite.ts";

archiveContract("the archive in SQLite", async () => new SqliteArchive());

PRAGMA application_id = 1093814860;
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE counters (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            change INTEGER NOT NULL,
            drops INTEGER NOT NULL
        );
INSERT INTO "counters" VALUES(1,7,2);
CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY,
            change INTEGER NOT NULL,
            account TEXT NOT NULL,
            key TEXT NOT NULL,
            kind TEXT NOT NULL,
            digest TEXT NOT NULL,
            state INTEGER NOT NULL,
            path TEXT NOT NULL,
            name TEXT,
            mark TEXT,
            echo TEXT,
            expected INTEGER NOT NULL,
            sent_at REAL,
            lost_at REAL,
            ids TEXT,
            coins INTEGER,
            reserved INTEGER,
            uploads INTEGER NOT NULL,
            succeeded INTEGER,
            failure TEXT,
            missing_since REAL,
            closed_by TEXT,
            urls TEXT,
            outputs INTEGER,
            paths TEXT,
            meta TEXT,
            own_key INTEGER NOT NULL,
            hook TEXT,
            event_at REAL,
            owner TEXT,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL
        );
INSERT INTO "jobs" VALUES(1,1,'','talk-1','dubbing','d1',1,'/api/v1/userDubbing/startDubbing',NULL,'a2e-0123456789abcdefghij','{"target_lang":"e1"}',1,1768000000.0,1768000002.0,NULL,NULL,30,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"n":1}',0,NULL,NULL,'b9091b2950994699b03936aa4c927709',1768000000.0,1768000000.0);
INSERT INTO "jobs" VALUES(6,6,'','talk-4','dubbing','d4',0,'',NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,'b9091b2950994699b03936aa4c927709',1768000000.0,1768000000.0);
INSERT INTO "jobs" VALUES(7,7,'acme@media.example','talk-5','dubbing','d5',4,'',NULL,NULL,NULL,1,NULL,NULL,'66ea4dd87db10c73fa29b572',3,NULL,0,1,NULL,NULL,'saved',NULL,1,'{"66ea4dd87db10c73fa29b572#0":"out/5.mp3"}',NULL,0,'a2e-9876543210abcdefghij',1768000050.0,'b9091b2950994699b03936aa4c927709',1768000000.0,1768000000.0);
CREATE TABLE owners (owner TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE pruned (
            account TEXT NOT NULL,
            day TEXT NOT NULL,
            kind TEXT NOT NULL,
            coins INTEGER NOT NULL,
            reserved INTEGER NOT NULL,
            starts INTEGER NOT NULL,
            PRIMARY KEY (account, day, kind)
        ) WITHOUT ROWID;
INSERT INTO "pruned" VALUES('','2026-01-09','animate',4,0,1);
INSERT INTO "pruned" VALUES('','2026-01-09','dubbing',12,0,1);
CREATE TABLE tasks (
            kind TEXT NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, seq INTEGER NOT NULL,
            PRIMARY KEY (kind, id, account)
        ) WITHOUT ROWID;
INSERT INTO "tasks" VALUES('dubbing','66ea4dd87db10c73fa29b572','acme@media.example',7);
CREATE TABLE uploads (
            account TEXT NOT NULL,
            digest TEXT NOT NULL,
            content_type TEXT NOT NULL,
            url TEXT NOT NULL,
            until REAL NOT NULL,
            PRIMARY KEY (account, digest, content_type)
        ) WITHOUT ROWID;
INSERT INTO "uploads" VALUES('acme@media.example','d1','audio/wav','https://media.example/talk.wav',4000000000.0);
CREATE UNIQUE INDEX jobs_key ON jobs (key, account);
CREATE INDEX jobs_open ON jobs (seq) WHERE state < 4 AND succeeded IS NOT 0;
CREATE INDEX jobs_change ON jobs (change);
CREATE INDEX jobs_hook ON jobs (hook) WHERE hook IS NOT NULL;
COMMIT;

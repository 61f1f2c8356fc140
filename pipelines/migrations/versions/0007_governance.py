"""Tables of governance: gate results, approvals, the hash-chained journal, reviews, incidents, rehearsals, documents."""

from alembic import op

revision = "0007"
down_revision = "0006"

DIGEST = "text NOT NULL CHECK ({0} ~ '^[0-9a-f]{{64}}$')"
FAIRNESS = "vigil_fairness"
PERSON = "text NOT NULL CHECK ({0} ~ '^[^@ ]+@[^@ ]+$')"


def upgrade() -> None:
    _gates()
    _approvals()
    _permits()
    _journal()
    _inventory()
    _documents()
    _fairness()
    op.execute("ALTER TABLE vigil.completion DROP CONSTRAINT completion_step_check")
    op.execute("""
        ALTER TABLE vigil.completion ADD CONSTRAINT completion_step_check
        CHECK (step IN ('train', 'publish', 'materialise', 'raise_alerts', 'release'))""")


def _gates() -> None:
    op.execute(f"""
        CREATE TABLE vigil.gate_run (
            gate_run_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model           text NOT NULL,
            version         integer NOT NULL CHECK (version > 0),
            artefact_digest {DIGEST.format("artefact_digest")},
            judged_on       date NOT NULL,
            policy          text NOT NULL,
            policy_version  text NOT NULL,
            passed          boolean NOT NULL,
            digest          {DIGEST.format("digest")},
            report          text NOT NULL,
            comparison      text,
            login           text NOT NULL DEFAULT session_user,
            at              timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("CREATE INDEX ON vigil.gate_run (model, version, gate_run_no)")
    _append_only("gate_run")


def _approvals() -> None:
    op.execute(f"""
        CREATE TABLE vigil.approval_request (
            request_no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model             text NOT NULL,
            version           integer NOT NULL,
            artefact_digest   {DIGEST.format("artefact_digest")},
            gate_run_no       bigint NOT NULL REFERENCES vigil.gate_run,
            gate_digest       {DIGEST.format("gate_digest")},
            policy            text NOT NULL,
            policy_version    text NOT NULL,
            expected_champion integer,
            needed            integer NOT NULL CHECK (needed > 0),
            validators        text[] NOT NULL,
            trainer           text NOT NULL,
            requester         text NOT NULL,
            place             text NOT NULL,
            answer_by         timestamptz NOT NULL,
            login             text NOT NULL DEFAULT session_user,
            at                timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute(f"""
        CREATE TABLE vigil.approval_answer (
            request_no bigint NOT NULL REFERENCES vigil.approval_request,
            person     {PERSON.format("person")},
            role       text NOT NULL,
            answer     text NOT NULL CHECK (answer IN ('approve', 'refuse')),
            note       text NOT NULL DEFAULT '',
            place      text NOT NULL,
            answered_at timestamptz NOT NULL,
            login      text NOT NULL DEFAULT session_user,
            at         timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (request_no, person)
        )""")
    op.execute("""
        CREATE TABLE vigil.approval_end (
            request_no bigint PRIMARY KEY REFERENCES vigil.approval_request,
            how        text NOT NULL CHECK (how IN ('granted', 'refused', 'timed_out')),
            at         timestamptz NOT NULL DEFAULT now()
        )""")
    for table in ("approval_request", "approval_answer", "approval_end"):
        _append_only(table)


def _permits() -> None:
    op.execute("""
        ALTER TABLE vigil.permit
            DROP CONSTRAINT permit_kind_check,
            ADD CONSTRAINT permit_kind_check CHECK (kind IN ('bootstrap', 'gates', 'approval')),
            ADD COLUMN gate_run_no bigint REFERENCES vigil.gate_run,
            ADD COLUMN gate_digest text,
            ADD COLUMN request_no bigint REFERENCES vigil.approval_request,
            ADD CONSTRAINT permit_gates CHECK ((kind <> 'bootstrap') = (gate_digest IS NOT NULL AND gate_run_no IS NOT NULL)),
            ADD CONSTRAINT permit_person CHECK ((kind = 'approval') = (request_no IS NOT NULL)),
            ADD CONSTRAINT permit_champion CHECK (kind <> 'gates' OR role = 'challenger')""")
    op.execute("CREATE UNIQUE INDEX permit_one_of_a_request ON vigil.permit (request_no)")


def _journal() -> None:
    # The payload is text, so that the bytes that were hashed are the bytes that are kept.
    op.execute(f"""
        CREATE TABLE vigil.journal (
            entry_no      bigint PRIMARY KEY CHECK (entry_no > 0),
            at            timestamptz NOT NULL,
            model         text NOT NULL,
            kind          text NOT NULL,
            payload       text NOT NULL,
            previous_hash {DIGEST.format("previous_hash")},
            hash          {DIGEST.format("hash")}
        )""")
    op.execute("CREATE INDEX ON vigil.journal (model, entry_no)")
    _append_only("journal")


def _inventory() -> None:
    op.execute(f"""
        CREATE TABLE vigil.review (
            review_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model     text NOT NULL,
            version   integer,
            outcome   text NOT NULL CHECK (outcome IN ('fit', 'fit_with_conditions', 'unfit')),
            note      text NOT NULL CHECK (note <> ''),
            person    {PERSON.format("person")},
            login     text NOT NULL DEFAULT session_user,
            at        timestamptz NOT NULL DEFAULT now()
        )""")
    op.execute("""
        CREATE TABLE vigil.incident (
            incident_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model       text NOT NULL,
            kind        text NOT NULL,
            subject     text NOT NULL,
            severity    integer NOT NULL CHECK (severity BETWEEN 1 AND 3),
            message     text NOT NULL,
            opened_at   timestamptz NOT NULL DEFAULT now(),
            UNIQUE (model, kind, subject)
        )""")
    op.execute("""
        CREATE TABLE vigil.incident_event (
            incident_no bigint NOT NULL REFERENCES vigil.incident,
            seq         integer NOT NULL CHECK (seq > 0),
            action      text NOT NULL CHECK (action IN ('opened', 'seen_again', 'acknowledged', 'resolved')),
            by          text NOT NULL,
            note        text NOT NULL DEFAULT '',
            at          timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (incident_no, seq)
        )""")
    op.execute("""
        CREATE TABLE vigil.rehearsal (
            rehearsal_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model        text NOT NULL,
            from_version integer,
            to_version   integer,
            outcome      text NOT NULL CHECK (outcome IN ('passed', 'failed', 'not_possible')),
            ok           boolean GENERATED ALWAYS AS (outcome = 'passed') STORED,
            seconds      double precision CHECK ((outcome = 'passed') <= (seconds IS NOT NULL)),
            message      text NOT NULL,
            at           timestamptz NOT NULL DEFAULT now()
        )""")
    for table in ("review", "incident", "incident_event", "rehearsal"):
        _append_only(table)


def _documents() -> None:
    op.execute(f"""
        CREATE TABLE vigil.evidence_pack (
            pack_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model       text NOT NULL,
            version     integer NOT NULL,
            digest      {DIGEST.format("digest")},
            location    text NOT NULL,
            at          timestamptz NOT NULL DEFAULT now(),
            UNIQUE (model, version, digest)
        )""")
    op.execute(f"""
        CREATE TABLE vigil.foreign_package (
            package_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            model      text NOT NULL,
            digest     {DIGEST.format("digest")},
            format     text,
            state      text NOT NULL CHECK (state IN ('quarantined', 'refused', 'registered')),
            reason     text NOT NULL,
            version    integer,
            by         {PERSON.format("by")},
            login      text NOT NULL DEFAULT session_user,
            at         timestamptz NOT NULL DEFAULT now()
        )""")
    for table in ("evidence_pack", "foreign_package"):
        _append_only(table)


def _fairness() -> None:
    """The role without login in which fairness is judged: besides the owner nobody reads protected attributes."""
    op.execute(f"""
        DO $$ BEGIN
            BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{FAIRNESS}') THEN
                    CREATE ROLE {FAIRNESS} NOLOGIN;
                END IF;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END;
            IF NOT pg_has_role(current_user, '{FAIRNESS}', 'SET') THEN
                GRANT {FAIRNESS} TO current_user;
            END IF;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'this login may not make or take the role {FAIRNESS}: let an administrator run '
                'CREATE ROLE {FAIRNESS} NOLOGIN; (unless it exists) '
                'GRANT {FAIRNESS} TO % WITH ADMIN OPTION, SET FALSE, INHERIT FALSE; '
                'then migrate again (docs/fairness.md, Who sees what)', current_user;
        END $$""")
    op.execute(f"GRANT USAGE ON SCHEMA protected TO {FAIRNESS}")
    op.execute(f"""
        DO $$ DECLARE published text; BEGIN
            FOR published IN
                SELECT tablename FROM pg_tables WHERE schemaname = 'protected' AND right(tablename, 8) <> '_staging'
            LOOP
                EXECUTE format('GRANT SELECT ON protected.%I TO {FAIRNESS}', published);
            END LOOP;
        END $$""")


def _append_only(table: str) -> None:
    op.execute(f"""
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vigil.{table}
        FOR EACH STATEMENT EXECUTE FUNCTION vigil.refuse_change()""")

"""The words of messages of payment providers that could not be read are kept."""

from __future__ import annotations

from alembic import op

revision = "core_0035"
down_revision = "core_0034"


def upgrade() -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION core.forget_provider_messages(before timestamptz, most integer) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER\nSET search_path = pg_catalog AS $$\nDECLARE gone bigint; chosen bigint[];\nBEGIN\n    IF before > clock_timestamp() - interval '7 days' THEN\n        RAISE EXCEPTION 'messages of the last 7 days are kept' USING ERRCODE = 'insufficient_privilege';\n    END IF;\n    UPDATE core.provider_messages m SET body = ''\n    WHERE m.id IN (\n        SELECT o.id FROM core.provider_messages o\n        WHERE o.received_at < before AND o.body <> ''\n          AND EXISTS (SELECT FROM core.provider_message_outcomes r WHERE r.message = o.id\n                        AND r.outcome NOT IN ('failed', 'no_service', 'unreadable'))\n        ORDER BY o.received_at LIMIT most);\n    GET DIAGNOSTICS gone = ROW_COUNT;\n    RETURN gone;\nEND $$;"
    )

"""Identify features."""

import sqlalchemy as sa
from alembic import op

revision = "4e8b2f6a3c10"
down_revision = "1a5c0e7d9b42"

COLUMNS = ["short_id", "biomarker_role", "phenotype_axes", "data_ownership"]


def upgrade():
    for name in COLUMNS:
        op.add_column("features", sa.Column(name, sa.Text))
    op.create_index("ix_features_short_id", "features", ["short_id"])


def downgrade():
    op.drop_index("ix_features_short_id", "features")
    for name in COLUMNS:
        op.drop_column("features", name)

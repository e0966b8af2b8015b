"""Expressions (CEL) and templates."""

from playhead_engine.expressions.expression import (
    MAX_SOURCE,
    Expression,
    ExpressionFailed,
    ExpressionInvalid,
    Reference,
    Scope,
    Template,
    compile_expression,
    compile_template,
)

__all__ = [
    "MAX_SOURCE",
    "Expression",
    "ExpressionFailed",
    "ExpressionInvalid",
    "Reference",
    "Scope",
    "Template",
    "compile_expression",
    "compile_template",
]

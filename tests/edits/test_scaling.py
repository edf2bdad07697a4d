from .edited import becomes, refused


def test_what_was_fitted_on_training_data_transforms_validation_data() -> None:
    becomes(
        "transform-only",
        """
        scaler = MinMaxScaler()
        X_train = scaler.fit_transform(X_train)
        X_val = scaler.fit_transform(X_val)  # here
        y_val = torch.from_numpy(encoder.fit_transform(val_names)).long()
        """,
        """
        scaler = MinMaxScaler()
        X_train = scaler.fit_transform(X_train)
        X_val = scaler.transform(X_val)
        y_val = torch.from_numpy(encoder.fit_transform(val_names)).long()
        """,
    )
    becomes(
        "transform-only",
        "a, b = s.fit_transform(df_train[cols]), s.fit_transform(df_test[cols])  # here\n",
        "a, b = s.fit_transform(df_train[cols]), s.transform(df_test[cols])\n",
    )
    becomes(
        "transform-only",
        """
        xs, ys = StandardScaler().fit(xtrain), LabelEncoder()
        ys.fit(ytrain)
        ytest = ys.fit_transform(ytest)  # here
        """,
        """
        xs, ys = StandardScaler().fit(xtrain), LabelEncoder()
        ys.fit(ytrain)
        ytest = ys.transform(ytest)
        """,
    )


def test_all_that_is_fitted_anew_beside_the_line_is_only_transformed() -> None:
    becomes(
        "transform-only",
        """
        def load():
            x_tr, y_tr = sx.fit_transform(x_tr), sy.fit_transform(y_tr)
            x_te = sx.fit_transform(x_te)
            y_te = sy.fit_transform(y_te)  # here
        """,
        """
        def load():
            x_tr, y_tr = sx.fit_transform(x_tr), sy.fit_transform(y_tr)
            x_te = sx.transform(x_te)
            y_te = sy.transform(y_te)
        """,
    )


def test_a_second_object_of_the_same_kind_gives_way_to_the_first() -> None:
    after = """
        scaler = StandardScaler()
        x_train = scaler.fit_transform(x_train)
        x_val = scaler.transform(x_val)
        """
    for second in ("StandardScaler().fit_transform(x_val)", "scaler.fit_transform(x_val)", "other.fit_transform(x_val)"):
        name = second.split(".")[0]
        made = "" if "(" in name else f"{name} = StandardScaler()\n        "
        becomes(
            "transform-only",
            f"""
        scaler = StandardScaler()
        x_train = scaler.fit_transform(x_train)
        {made}x_val = {second}  # here
        """,
            after,
        )


def test_in_doubt_a_fit_is_left_alone() -> None:
    for script in (
        "x_val = scaler.fit_transform(x_val)  # here\n",  # fitted nowhere else
        "a = s.fit_transform(a)\nb = s.fit_transform(b)  # here\n",  # which part is which
        "x = s.fit_transform(x_train)\nx = s.fit_transform(x_train)  # here\n",
        "x = s.fit_transform(x_test)\nx = s.fit_transform(x_val)  # here\n",
        "if scaled:\n    x = s.fit_transform(x_train)\nx = s.fit_transform(x_val)  # here\n",
        "s = A()\nx = s.fit_transform(x_train)\ns = B()\nx = s.fit_transform(x_val)  # here\n",
        "s = A(2)\nx = s.fit_transform(x_train)\nx = A(3).fit_transform(x_val)  # here\n",
        "x = A().fit_transform(x_train)\nx = A().fit_transform(x_val)  # here\n",
        "s, t = A(), A()\nx = s.fit_transform(x_train)\nx = t.fit_transform(x_val)  # here\n",
        "s = A()\nt = A()\nx = s.fit_transform(x_train)\nx_val = t.fit_transform(x_val)  # here\nback = t.inverse_transform(x_val)\n",
        "x = s.fit_transform(x_train, y_train)\nx = s.fit_transform(x_val, y_val)  # here\n",
        "x_val = load(x_val)  # here\n",
    ):
        assert refused("transform-only", script)
